"""SCDTLModule: wires DAE, U-Net and fusion, and computes the loss."""

from __future__ import annotations

import torch
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data

from scdtl._constants import REGISTRY_KEYS
from scdtl.module._adaptation import maximum_mean_discrepancy
from scdtl.module._dae import DAE, log1p_deviation
from scdtl.module._fusion import CrossChannelAttention
from scdtl.module._likelihood import LOG_ZERO, multinomial_nll
from scdtl.module._posterior import dispersion_moments, posterior_mean, shrunken_dispersion
from scdtl.module._unet import UNet

N_BULK_LATENTS = 256


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
    ``gene_order`` (the module's genes are the data's in co-expression order), ``log_mean`` (log
    of each batch's mean profile, batches × genes), ``log_ratio_scale`` (1 once trained; fitted
    for pure transfer), ``dispersion`` per gene and ``bulk_latents`` (all zero without bulk). A
    batch acts in three places: its mean profile, the decoder and the queries of the fusion.
    """

    gene_order: torch.Tensor
    log_mean: torch.Tensor
    log_ratio_scale: torch.Tensor
    dispersion: torch.Tensor
    bulk_latents: torch.Tensor
    fold_moments: torch.Tensor
    fold_dispersion: torch.Tensor

    def __init__(
        self,
        n_genes: int,
        n_batch: int = 1,
        n_hidden: int = 128,
        n_latent: int = 32,
        dropout_rate: float = 0.1,
        patch_size: int = 64,
    ):
        super().__init__()
        # What bulk replaces comes last: its size does not change how the others start.
        self.unet = UNet(n_genes, patch_size)
        self.fusion = CrossChannelAttention(n_genes, n_latent + self.unet.n_context, n_batch)
        self.dae = DAE(n_genes, n_hidden, n_latent, dropout_rate, n_batch)
        self.register_buffer("gene_order", torch.arange(n_genes))
        self.register_buffer("log_mean", torch.zeros(n_batch, n_genes))
        self.register_buffer("log_ratio_scale", torch.ones(()))
        self.register_buffer("dispersion", torch.zeros(n_genes))
        self.register_buffer("bulk_latents", torch.zeros(N_BULK_LATENTS, n_latent))
        # Cells of even and odd rows are two folds: the dispersion of one judges the other.
        self.register_buffer("fold_moments", torch.zeros(2, 2, n_genes), persistent=False)
        self.register_buffer("fold_dispersion", torch.zeros(2, n_genes), persistent=False)

    def start_without_bulk(self) -> None:
        """Draw the DAE's first weights, once the mean profile is known."""
        self.dae.draw(max(1, int((self.log_mean > LOG_ZERO).any(0).sum())))
        self.bulk_latents.zero_()

    def _get_inference_input(self, tensors, **kwargs):
        return {
            "counts": tensors[REGISTRY_KEYS.X_KEY],
            "batch_index": tensors[REGISTRY_KEYS.BATCH_KEY],
        }

    @auto_move_data
    def inference(
        self, counts: torch.Tensor, batch_index: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        deviation = self.deviation(counts, batch_index)
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

    def attention_to_dae(self, counts: torch.Tensor, batch_index: torch.Tensor) -> torch.Tensor:
        """Weight of the DAE's logits in the fusion, cells × genes."""
        inferred = self.inference(counts, batch_index)
        context = torch.cat([inferred["latent"], inferred["context"]], 1)
        return self.fusion.weight_of_dae(context, batch_index)

    def loss(
        self,
        tensors,
        inference_outputs,
        generative_outputs,
        branch_weight: float = 0.3,
        mmd_weight: float = 0.01,
    ) -> LossOutput:
        """Loss per molecule of the target, on average.

        In training, that of the fused prediction, plus ``branch_weight`` times that of each
        branch on its own (in half of the cells), plus ``mmd_weight`` times the MMD to bulk. In
        validation, and so for early stopping, that of the posterior mean: what the user gets.
        """
        target = tensors[REGISTRY_KEYS.TARGET_KEY]
        batch_index = tensors[REGISTRY_KEYS.BATCH_KEY]
        n_molecules = target.sum().clamp(min=1.0)
        if not self.training:
            counts = tensors[REGISTRY_KEYS.X_KEY]
            rate = self.held_out_rate(generative_outputs["fused"], batch_index, counts, target)
            nll = -torch.xlogy(target, rate.clamp(min=1e-12)).sum()
            nll = nll + (target.sum(1) * rate.sum(1).clamp(min=1e-12).log()).sum()
            return LossOutput(loss=nll / n_molecules, n_obs_minibatch=len(target))

        log_mean = self.batch_log_mean(batch_index)
        nll = multinomial_nll(generative_outputs["fused"], log_mean, target)
        loss = nll.sum() / n_molecules
        if branch_weight:
            # Half of the cells are enough to keep both branches honest, at half the cost.
            half = slice(0, (len(target) + 1) // 2)
            n_molecules = target[half].sum().clamp(min=1.0)
            log_mean = log_mean if len(log_mean) == 1 else log_mean[half]
            for branch in ("dae", "unet"):
                nll = multinomial_nll(generative_outputs[branch][half], log_mean, target[half])
                loss = loss + branch_weight * nll.sum() / n_molecules
        metrics = {}
        if mmd_weight and self.bulk_latents.any():
            mmd = maximum_mean_discrepancy(inference_outputs["latent"], self.bulk_latents)
            loss = loss + mmd_weight * mmd
            metrics["mmd"] = mmd
        return LossOutput(loss=loss, n_obs_minibatch=len(target), extra_metrics=metrics)

    def held_out_rate(
        self,
        logits: torch.Tensor,
        batch_index: torch.Tensor,
        counts: torch.Tensor,
        held_out: torch.Tensor,
    ) -> torch.Tensor:
        """Posterior mean for held-out molecules, at the depth of ``counts``.

        The dispersion of each fold of cells is the other fold's, so that no cell judges itself.
        The moments that renew it are gathered on the way.
        """
        proportions = self.log_proportions(logits, batch_index).exp()
        mu = proportions * counts.sum(1, keepdim=True)
        mu_held_out = proportions * held_out.sum(1, keepdim=True)
        rate = torch.empty_like(mu)
        for fold in (0, 1):
            rows = slice(fold, None, 2)
            moments = dispersion_moments(counts[rows], mu[rows], held_out[rows], mu_held_out[rows])
            self.fold_moments[fold] += torch.stack(moments)
            rate[rows] = posterior_mean(mu[rows], counts[rows], self.fold_dispersion[1 - fold])
        return rate

    def update_dispersion(self) -> None:
        """Set the dispersions from the moments gathered since the last time."""
        for fold in (0, 1):
            self.fold_dispersion[fold] = shrunken_dispersion(*self.fold_moments[fold])
        self.dispersion.copy_(shrunken_dispersion(*self.fold_moments.sum(0)))
        self.fold_moments.zero_()

    def batch_log_mean(self, batch_index: torch.Tensor) -> torch.Tensor:
        """Log mean profile of each cell's batch; one row for all where there is one batch."""
        return self.log_mean if len(self.log_mean) == 1 else self.log_mean[batch_index]

    def deviation(self, counts: torch.Tensor, batch_index: torch.Tensor) -> torch.Tensor:
        """Input of both branches: how each cell deviates from its batch's mean profile."""
        return log1p_deviation(counts, self.batch_log_mean(batch_index))

    def log_proportions(self, logits: torch.Tensor, batch_index: torch.Tensor) -> torch.Tensor:
        """Log of the predicted proportions, cells × genes; each row's exponentials sum to 1."""
        scores = self.batch_log_mean(batch_index) + self.log_ratio_scale * logits
        return torch.log_softmax(scores, dim=1)

    def sample(self, *args, **kwargs):
        raise TypeError("SCDTL has no sampler of cells; see get_imputed_expression.")
