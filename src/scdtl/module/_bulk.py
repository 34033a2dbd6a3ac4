"""BulkDAEModule: the DAE on bulk pseudo-cells, whose noise-free profiles are the target."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data

from scdtl._constants import REGISTRY_KEYS
from scdtl.module._dae import DAE, log1p_deviation
from scdtl.noise._multinomial import multinomial_nll


class BulkDAEModule(BaseModuleClass):
    """Predicts a profile from Poisson counts drawn from it.

    Parameters
    ----------
    n_genes
        Number of genes.
    n_hidden, n_latent, dropout_rate
        Architecture of the DAE.

    Notes
    -----
    ``log_mean`` is the log of the mean profile of all samples; an episode brings its own.
    """

    log_mean: torch.Tensor

    def __init__(
        self,
        n_genes: int,
        n_hidden: int = 128,
        n_latent: int = 32,
        dropout_rate: float = 0.1,
    ):
        super().__init__()
        self.dae = DAE(n_genes, n_hidden, n_latent, dropout_rate)
        self.register_buffer("log_mean", torch.zeros(n_genes))

    def _get_inference_input(
        self, tensors: dict[str, torch.Tensor], **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        return {
            "counts": tensors[REGISTRY_KEYS.X_KEY],
            "log_mean": tensors.get(REGISTRY_KEYS.LOG_MEAN_KEY, self.log_mean),
        }

    @auto_move_data
    def inference(self, counts: torch.Tensor, log_mean: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"latent": self.dae.encoder(log1p_deviation(counts, log_mean))}

    def _get_generative_input(
        self,
        tensors: dict[str, torch.Tensor],
        inference_outputs: dict[str, torch.Tensor],
        **kwargs: Any,
    ) -> dict[str, torch.Tensor]:
        return {"latent": inference_outputs["latent"]}

    @auto_move_data
    def generative(self, latent: torch.Tensor) -> dict[str, torch.Tensor]:
        batch_index = torch.zeros(len(latent), dtype=torch.long, device=latent.device)
        return {"logits": self.dae.decoder(latent, batch_index)}

    def loss(
        self,
        tensors: dict[str, torch.Tensor],
        inference_outputs: dict[str, torch.Tensor],
        generative_outputs: dict[str, torch.Tensor],
    ) -> LossOutput:
        nll = multinomial_nll(
            generative_outputs["logits"],
            tensors[REGISTRY_KEYS.LOG_MEAN_KEY],
            tensors[REGISTRY_KEYS.TARGET_KEY],
        )
        return LossOutput(loss=nll.mean(), reconstruction_loss=nll)

    def sample(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("BulkDAE is deterministic: it has no samples.")
