"""SCDTLModule: wires DAE, U-Net and fusion, and computes the loss."""

from __future__ import annotations

import torch
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data

from scdtl._constants import REGISTRY_KEYS
from scdtl.module._adaptation import maximum_mean_discrepancy
from scdtl.module._dae import DAE, log1p_deviation
from scdtl.module._fusion import CrossChannelAttention
from scdtl.module._likelihood import multinomial_nll
from scdtl.module._unet import UNet

N_BULK_LATENTS = 512


class SCDTLModule(BaseModuleClass):
    """Two branches over the genes, fused by attention, around the mean profile of the data.

    Parameters
    ----------
    n_genes, n_batch
        Number of genes and of batches.
    n_hidden, n_latent, dropout_rate
        Architecture of the DAE.
    patch_size
        Genes per patch of the U-Net.

    Notes
    -----
    What does not come from gradients lives in buffers, so that it travels with the weights:
    ``log_mean`` (log of each batch's mean profile, batches × genes, ``-inf`` for genes without
    counts), ``log_ratio_scale`` (1 once trained; fitted for pure transfer), ``dispersion`` per
    gene, ``bulk_latents`` (all zero without bulk) and the U-Net's gene order. A batch acts in
    three places: its mean profile, the decoder and the queries of the fusion.
    """

    log_mean: torch.Tensor
    log_ratio_scale: torch.Tensor
    dispersion: torch.Tensor
    bulk_latents: torch.Tensor

    def __init__(
        self,
        n_genes: int,
        n_batch: int = 1,
        n_hidden: int = 256,
        n_latent: int = 64,
        dropout_rate: float = 0.1,
        patch_size: int = 32,
    ):
        super().__init__()
        self.dae = DAE(n_genes, n_hidden, n_latent, dropout_rate, n_batch)
        self.unet = UNet(torch.arange(n_genes), patch_size)
        self.fusion = CrossChannelAttention(n_genes, n_latent + self.unet.n_context, n_batch)
        self.register_buffer("log_mean", torch.zeros(n_batch, n_genes))
        self.register_buffer("log_ratio_scale", torch.ones(()))
        self.register_buffer("dispersion", torch.zeros(n_genes))
        self.register_buffer("bulk_latents", torch.zeros(N_BULK_LATENTS, n_latent))

    def _get_inference_input(self, tensors, **kwargs):
        return {
            "counts": tensors[REGISTRY_KEYS.X_KEY],
            "batch_index": tensors[REGISTRY_KEYS.BATCH_KEY],
        }

    @auto_move_data
    def inference(
        self, counts: torch.Tensor, batch_index: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        deviation = log1p_deviation(counts, self.batch_log_mean(batch_index))
        unet, context = self.unet(deviation)
        return {"latent": self.dae.encoder(deviation), "unet": unet, "context": context}

    def _get_generative_input(self, tensors, inference_outputs, **kwargs):
        return {"batch_index": tensors[REGISTRY_KEYS.BATCH_KEY], **inference_outputs}

    @auto_move_data
    def generative(
        self,
        latent: torch.Tensor,
        unet: torch.Tensor,
        context: torch.Tensor,
        batch_index: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        dae = self.dae.decoder(latent, batch_index)
        fused = self.fusion(dae, unet, torch.cat([latent, context], 1), batch_index)
        return {"dae": dae, "unet": unet, "fused": fused}

    def loss(
        self,
        tensors,
        inference_outputs,
        generative_outputs,
        branch_weight: float = 0.3,
        mmd_weight: float = 1.0,
    ) -> LossOutput:
        target = tensors[REGISTRY_KEYS.TARGET_KEY]
        log_mean = self.batch_log_mean(tensors[REGISTRY_KEYS.BATCH_KEY])
        n_molecules = target.sum().clamp(min=1.0)
        nll = multinomial_nll(generative_outputs["fused"], log_mean, target)
        loss = fused_loss = nll.sum() / n_molecules
        metrics = {}
        if self.training:  # validation, and so early stopping, looks at the prediction alone
            for branch in ("dae", "unet"):
                branch_nll = multinomial_nll(generative_outputs[branch], log_mean, target)
                loss = loss + branch_weight * branch_nll.sum() / n_molecules
            if mmd_weight and self.bulk_latents.any():
                mmd = maximum_mean_discrepancy(inference_outputs["latent"], self.bulk_latents)
                loss = loss + mmd_weight * mmd
                metrics = {"mmd": mmd}
        metrics["reconstruction_loss"] = fused_loss
        return LossOutput(
            loss=loss, n_obs_minibatch=len(target), extra_metrics=metrics
        )

    def batch_log_mean(self, batch_index: torch.Tensor) -> torch.Tensor:
        """Log mean profile of each cell's batch; one row for all where there is one batch."""
        return self.log_mean if len(self.log_mean) == 1 else self.log_mean[batch_index]

    def log_proportions(
        self, logits: torch.Tensor, batch_index: torch.Tensor
    ) -> torch.Tensor:
        """Log of the predicted proportions, cells × genes; each row's exponentials sum to 1."""
        scores = self.batch_log_mean(batch_index) + self.log_ratio_scale * logits
        return torch.log_softmax(scores, dim=1)

    def sample(self, *args, **kwargs):
        raise TypeError("SCDTL has no sampler of cells; see get_imputed_expression.")
