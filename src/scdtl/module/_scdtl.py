"""SCDTLModule: wires DAE, U-Net and fusion, and computes the loss."""

from __future__ import annotations

import copy
from typing import Any, NoReturn

import torch
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch import nn

from scdtl._constants import REGISTRY_KEYS
from scdtl.module._adaptation import maximum_mean_discrepancy
from scdtl.module._co_expression import CoExpression
from scdtl.module._dae import DAE, log1p_deviation
from scdtl.module._fusion import CrossChannelAttention
from scdtl.module._unet import UNet
from scdtl.noise import NOISE_MODELS
from scdtl.noise._multinomial import LOG_ZERO

N_BULK_LATENTS = 256
_N_FOLDS = 5
_NETWORK = ("dae", "unet", "fusion")


class SCDTLModule(BaseModuleClass):
    """Two branches over the genes, fused by attention, around the data's mean and bulk's word.

    Parameters
    ----------
    n_genes, n_batch
        Number of genes and of batches.
    n_hidden, n_latent, dropout_rate
        Architecture of the DAE.
    patch_size, n_levels
        Architecture of the U-Net.
    n_models
        Number of networks that the prediction is the mean of. Training and latents see one, in
        ``dae``, ``unet`` and ``fusion``; the ``others`` are kept aside.
    noise
        Name of the noise model.
    n_components
        Components of bulk co-expression; 0 without bulk.

    Notes
    -----
    What does not come from gradients lives in buffers, so that it travels with the weights:
    ``gene_order`` (the module's genes are the data's in co-expression order), ``log_mean`` (log
    of each batch's mean profile, batches × genes), ``log_ratio_scale`` (1 in training, then
    fitted), what the noise model has fitted and ``bulk_latents`` (all zero without bulk). A batch
    acts in three places: its mean profile, the decoder and the queries of the fusion.
    """

    gene_order: torch.Tensor
    log_mean: torch.Tensor
    log_ratio_scale: torch.Tensor
    bulk_latents: torch.Tensor

    def __init__(
        self,
        n_genes: int,
        n_batch: int = 1,
        n_hidden: int = 128,
        n_latent: int = 32,
        dropout_rate: float = 0.1,
        patch_size: int = 64,
        n_levels: int = 2,
        n_models: int = 1,
        noise: str = "umi",
        n_components: int = 0,
    ):
        super().__init__()
        # What bulk replaces comes last: its size does not change how the others start.
        self.unet = UNet(n_genes, patch_size, n_levels)
        self.fusion = CrossChannelAttention(n_genes, n_latent + self.unet.n_context, n_batch)
        self.dae = DAE(n_genes, n_hidden, n_latent, dropout_rate, n_batch)
        network = nn.ModuleDict({name: getattr(self, name) for name in _NETWORK})
        self.others = nn.ModuleList(copy.deepcopy(network) for _ in range(n_models - 1))
        self.others.requires_grad_(False)
        self.co_expression = CoExpression(n_genes, n_components)
        self.noise = NOISE_MODELS[noise](n_genes)
        self.register_buffer("gene_order", torch.arange(n_genes))
        self.register_buffer("log_mean", torch.zeros(n_batch, n_genes))
        self.register_buffer("log_ratio_scale", torch.ones(()))
        self.register_buffer("bulk_latents", torch.zeros(N_BULK_LATENTS, n_latent))

    @property
    def has_counts(self) -> torch.Tensor:
        """For each gene whether some batch has counts of it."""
        return (self.log_mean > LOG_ZERO).any(0)

    @property
    def n_with_counts(self) -> int:
        """Number of genes that have counts, at least 1."""
        return max(1, int(self.has_counts.sum()))

    def start_without_bulk(self) -> None:
        """Draw the DAE's first weights, once the mean profile is known."""
        self.dae.draw(self.n_with_counts)
        self.co_expression.clear()
        self.bulk_latents.zero_()
        self.start_others()

    def start_others(self) -> None:
        """Let all networks start alike: the order of the cells tells them apart."""
        for other in self.others:
            for name in _NETWORK:
                getattr(other, name).load_state_dict(getattr(self, name).state_dict())

    def exchange(self, other: nn.Module) -> None:
        """Put one of the others in the place of the network that is trained, and that aside."""
        for name in _NETWORK:
            own = copy.deepcopy(getattr(self, name).state_dict())
            getattr(self, name).load_state_dict(getattr(other, name).state_dict())
            getattr(other, name).load_state_dict(own)

    def _get_inference_input(
        self, tensors: dict[str, torch.Tensor], **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        return {
            "counts": tensors[REGISTRY_KEYS.X_KEY],
            "batch_index": tensors[REGISTRY_KEYS.BATCH_KEY],
        }

    @auto_move_data
    def inference(
        self, counts: torch.Tensor, batch_index: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        deviation = self.deviation(counts, batch_index)
        return {**_encoded(self, deviation), "by_co_expression": self.co_expression(deviation)}

    def _get_generative_input(
        self,
        tensors: dict[str, torch.Tensor],
        inference_outputs: dict[str, torch.Tensor],
        **kwargs: Any,
    ) -> dict[str, torch.Tensor]:
        return {"batch_index": tensors[REGISTRY_KEYS.BATCH_KEY], **inference_outputs}

    @auto_move_data
    def generative(
        self,
        latent: torch.Tensor,
        unet: torch.Tensor,
        context: torch.Tensor,
        by_co_expression: torch.Tensor,
        batch_index: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        fused = _decoded(self, latent, unet, context, batch_index)
        return {"log_ratios": fused + by_co_expression}

    def attention_to_dae(self, counts: torch.Tensor, batch_index: torch.Tensor) -> torch.Tensor:
        """Weight of the DAE's logits in the fusion, cells × genes."""
        inferred = self.inference(counts, batch_index)
        context = torch.cat([inferred["latent"], inferred["context"]], 1)
        return self.fusion.weight_of_dae(context, batch_index)

    def loss(
        self,
        tensors: dict[str, torch.Tensor],
        inference_outputs: dict[str, torch.Tensor],
        generative_outputs: dict[str, torch.Tensor],
        unet_weight: float = 0.3,
        mmd_weight: float = 0.01,
    ) -> LossOutput:
        """Loss of the noise model, on average over what is asked.

        In training, that of the prediction, plus ``unet_weight`` times that of the U-Net on its
        own, plus ``mmd_weight`` times the MMD to as many bulk latents as there are cells. In
        validation, and so for early stopping, that of the posterior mean: what the user gets.
        """
        target = tensors[REGISTRY_KEYS.TARGET_KEY]
        batch_index = tensors[REGISTRY_KEYS.BATCH_KEY]
        if not self.training:
            scores = self.scores(generative_outputs["log_ratios"], batch_index)
            loss = self.noise.held_out_loss(scores, tensors[REGISTRY_KEYS.X_KEY], target)
            return LossOutput(loss=loss, n_obs_minibatch=len(target))

        log_mean = self.batch_log_mean(batch_index)
        total, n_asked = self.noise.loss(generative_outputs["log_ratios"], log_mean, target)
        loss = total / n_asked
        if unet_weight:
            # Behind the DAE's start from bulk the U-Net learns late; a quarter of the cells helps.
            some = slice(0, -(-len(target) // 4))
            by_unet = inference_outputs["unet"][some] + inference_outputs["by_co_expression"][some]
            log_mean = log_mean if len(log_mean) == 1 else log_mean[some]
            total, n_asked = self.noise.loss(by_unet, log_mean, target[some])
            loss = loss + unet_weight * total / n_asked
        if mmd_weight and self.bulk_latents.any():
            drawn = torch.randperm(len(self.bulk_latents))[: len(target)]
            bulk = self.bulk_latents[drawn.to(self.bulk_latents.device)]
            mmd = maximum_mean_discrepancy(inference_outputs["latent"], bulk)
            loss = loss + mmd_weight * mmd
        return LossOutput(loss=loss, n_obs_minibatch=len(target))

    def batch_log_mean(self, batch_index: torch.Tensor) -> torch.Tensor:
        """Log mean profile of each cell's batch; one row for all where there is one batch."""
        return self.log_mean if len(self.log_mean) == 1 else self.log_mean[batch_index]

    def deviation(self, counts: torch.Tensor, batch_index: torch.Tensor) -> torch.Tensor:
        """Input of both branches: how each cell deviates from its batch's mean profile."""
        return log1p_deviation(counts, self.batch_log_mean(batch_index))

    def scores(self, log_ratios: torch.Tensor, batch_index: torch.Tensor) -> torch.Tensor:
        """Log-ratios around the log of the mean profile, cells × genes."""
        return self.batch_log_mean(batch_index) + self.log_ratio_scale * log_ratios

    def log_ratios(
        self, counts: torch.Tensor, batch_index: torch.Tensor, as_batch: torch.Tensor
    ) -> torch.Tensor:
        """Log-ratios of networks and co-expression; batches as in :meth:`predicted`."""
        deviation = self.deviation(counts, batch_index)
        return self.by_networks(deviation, as_batch) + self.co_expression(deviation)

    def by_networks(self, deviation: torch.Tensor, as_batch: torch.Tensor) -> torch.Tensor:
        """Log-ratios without co-expression, the mean over all networks."""
        total = torch.zeros_like(deviation)
        for network in (self, *self.others):
            total += _decoded(network, **_encoded(network, deviation), batch_index=as_batch)
        return total / (1 + len(self.others))

    def predicted(
        self,
        counts: torch.Tensor,
        batch_index: torch.Tensor,
        as_batch: torch.Tensor | None = None,
        own_counts: bool = True,
    ) -> torch.Tensor:
        """Scores of whole cells.

        Parameters
        ----------
        counts
            Counts, cells × genes.
        batch_index
            Batch of each cell.
        as_batch
            Batch as whose cells they are predicted; ``None`` for their own.
        own_counts
            Whether an entry is predicted with its own count in view; otherwise from the other
            genes, in folds of genes that are hidden in turn.
        """
        as_batch = batch_index if as_batch is None else as_batch
        if own_counts:
            return self.scores(self.log_ratios(counts, batch_index, as_batch), as_batch)
        # Neighbours along the U-Net are in different folds: each is predicted from the others.
        fold_of = torch.arange(counts.shape[1], device=counts.device) % _N_FOLDS
        scores = torch.empty_like(counts)
        for fold in range(_N_FOLDS):
            hidden = fold_of == fold
            shown = counts.masked_fill(hidden, torch.nan)
            scores[:, hidden] = self.predicted(shown, batch_index, as_batch)[:, hidden]
        return scores

    def sample(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("SCDTL has no sampler of cells; see get_imputed_expression.")


def _encoded(network: Any, deviation: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a network, the module itself or one of its others, reads from the cells."""
    unet, context = network.unet(deviation)
    return {"latent": network.dae.encoder(deviation), "unet": unet, "context": context}


def _decoded(
    network: Any,
    latent: torch.Tensor,
    unet: torch.Tensor,
    context: torch.Tensor,
    batch_index: torch.Tensor,
) -> torch.Tensor:
    """Its log-ratios: both branches, fused."""
    dae = network.dae.decoder(latent, batch_index)
    return network.fusion(dae, unet, torch.cat([latent, context], 1), batch_index)
