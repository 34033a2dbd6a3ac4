"""BulkDAEModule: the DAE on bulk pseudo-cells, whose noise-free profiles are the target."""

from __future__ import annotations

import torch
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data

from scdtl._constants import REGISTRY_KEYS
from scdtl.module._dae import DAE, log1p_deviation
from scdtl.noise._multinomial import multinomial_nll

_MIN_LOG_MEAN = -16.0


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

    def _get_inference_input(self, tensors, **kwargs):
        return {
            "counts": tensors[REGISTRY_KEYS.X_KEY],
            "log_mean": tensors.get(REGISTRY_KEYS.LOG_MEAN_KEY, self.log_mean),
        }

    @auto_move_data
    def inference(self, counts: torch.Tensor, log_mean: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"latent": self.dae.encoder(log1p_deviation(counts, log_mean))}

    def _get_generative_input(self, tensors, inference_outputs, **kwargs):
        return {"latent": inference_outputs["latent"]}

    @auto_move_data
    def generative(self, latent: torch.Tensor) -> dict[str, torch.Tensor]:
        batch_index = torch.zeros(len(latent), dtype=torch.long, device=latent.device)
        return {"logits": self.dae.decoder(latent, batch_index)}

    def loss(
        self, tensors, inference_outputs, generative_outputs, flatten: float = 0.0
    ) -> LossOutput:
        """Loss of the noise-free profile.

        ``flatten``, from 0 to 1, lets genes count less by how abundant they are: 0 weighs all
        molecules alike, 1 all genes.
        """
        log_mean = tensors[REGISTRY_KEYS.LOG_MEAN_KEY]
        target, logits = tensors[REGISTRY_KEYS.TARGET_KEY], generative_outputs["logits"]
        if flatten:
            log_proportions = torch.log_softmax(log_mean + logits, 1)
            weight = torch.exp(-flatten * log_mean.clamp(min=_MIN_LOG_MEAN))
            nll = (weight * (log_proportions.exp() - target * log_proportions)).sum(1)
        else:
            nll = multinomial_nll(logits, log_mean, target)
        return LossOutput(loss=nll.mean(), reconstruction_loss=nll)

    def sample(self, *args, **kwargs):
        raise TypeError("BulkDAE is deterministic: it has no samples.")
