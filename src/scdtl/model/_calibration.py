"""What held-out molecules tell after training: reach of the prediction, dispersion, trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scdtl._constants import REGISTRY_KEYS
from scdtl.module._posterior import cross_moment_dispersion, posterior_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scdtl.module._scdtl import SCDTLModule
    from scdtl.train._molecules import MoleculeSplitter

_MIN_MOLECULES = 20
_GENES_PER_STRATUM = 200
_MAX_NEWTON_STEPS = 8


@torch.inference_mode()
def calibrate(
    module: SCDTLModule, molecules: MoleculeSplitter, fit_scale: bool
) -> dict[str, float | np.ndarray]:
    """Set the module's scale and dispersion from held-out molecules, and score it on them.

    The dispersion that scores a cell is estimated on the other half of the cells, so that the
    score stays honest.

    Parameters
    ----------
    module
        Trained, or fresh from bulk.
    molecules
        The split that training used.
    fit_scale
        Fit one factor for all log-ratios, for a network that was not trained on these cells.

    Returns
    -------
    ``deviance_explained``, pooled over genes and relative to the mean profile, and
    ``gene_deviance_explained``, per gene (NaN below 20 held-out molecules).
    """
    if fit_scale:
        module.log_ratio_scale.fill_(_best_scale(module, molecules))

    n_genes = module.dispersion.shape[0]
    moments = torch.zeros(2, 2, n_genes, dtype=torch.float64)
    for half, (counts, mu, held_out, mu_held_out) in enumerate(_predictions(module, molecules)):
        moments[half % 2] += torch.stack(
            cross_moment_dispersion(counts, mu, held_out, mu_held_out)
        ).double().cpu()
    by_half = [shrunken_dispersion(*moments[1 - half]).to(module.device) for half in (0, 1)]
    module.dispersion.copy_(shrunken_dispersion(*moments.sum(0)))

    deviance = torch.zeros(2, n_genes, dtype=torch.float64)
    n_held_out = torch.zeros(n_genes, dtype=torch.float64)
    mean_profile = module.log_mean.exp().mean(0)
    for half, (counts, mu, held_out, _) in enumerate(_predictions(module, molecules)):
        rate = posterior_mean(mu, counts, by_half[half % 2])
        depth = held_out.sum(1, keepdim=True)
        rate = rate * (depth / rate.sum(1, keepdim=True).clamp(min=1e-12))
        deviance[0] += _deviance(held_out, rate)
        deviance[1] += _deviance(held_out, depth * mean_profile)
        n_held_out += held_out.sum(0).double().cpu()
    explained = 1 - deviance[0] / deviance[1]
    explained[n_held_out < _MIN_MOLECULES] = float("nan")
    total = deviance.sum(1)
    return {
        "deviance_explained": float(1 - total[0] / total[1]) if total[1] > 0 else float("nan"),
        "gene_deviance_explained": explained.numpy().astype(np.float32),
    }


def shrunken_dispersion(numerator: torch.Tensor, denominator: torch.Tensor) -> torch.Tensor:
    """Dispersion per gene, shrunken towards the pooled value of genes of like expression.

    The estimate of a gene has variance 1/denominator from Poisson noise; the prior has the
    pooled value as its mean and as its standard deviation. Never negative.

    Parameters
    ----------
    numerator, denominator
        Sums over cells from :func:`~scdtl.module._posterior.cross_moment_dispersion`.
    """
    prior = torch.zeros_like(numerator)
    n_strata = max(1, len(numerator) // _GENES_PER_STRATUM)
    for genes in torch.tensor_split(torch.argsort(denominator), n_strata):
        pooled = numerator[genes].sum() / denominator[genes].sum().clamp(min=1e-12)
        prior[genes] = pooled.clamp(min=0)
    precision = 1 / prior.clamp(min=1e-3).square()
    shrunken = (numerator + precision * prior) / (denominator + precision)
    return shrunken.clamp(min=0).float()


def _predictions(
    module: SCDTLModule, molecules: MoleculeSplitter
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield, in half-blocks of validation cells: counts, prediction, held-out, prediction."""
    for logits, tensors in _logits(module, molecules):
        batch = tensors[REGISTRY_KEYS.BATCH_KEY]
        proportions = module.log_proportions(logits, batch).exp()
        counts, held_out = tensors[REGISTRY_KEYS.X_KEY], tensors[REGISTRY_KEYS.TARGET_KEY]
        middle = (len(counts) + 1) // 2
        for cells in (slice(0, middle), slice(middle, None)):
            c, t, p = counts[cells], held_out[cells], proportions[cells]
            yield c, p * c.sum(1, keepdim=True), t, p * t.sum(1, keepdim=True)


def _logits(
    module: SCDTLModule, molecules: MoleculeSplitter
) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    for tensors in molecules.val_dataloader():
        on_device = {key: value.to(module.device) for key, value in tensors.items()}
        inferred = module.inference(**module._get_inference_input(on_device))
        batch = on_device[REGISTRY_KEYS.BATCH_KEY]
        yield module.generative(batch_index=batch, **inferred)["fused"], on_device


def _best_scale(module: SCDTLModule, molecules: MoleculeSplitter) -> float:
    """Factor of the log-ratios under which held-out molecules are likeliest (Newton's method).

    The loss is convex in the factor; its derivatives are moments of the log-ratios under the
    prediction. Factors below 0 are cut to 0, the mean profile.
    """
    scale = 0.5
    for _ in range(_MAX_NEWTON_STEPS):
        slope = curvature = 0.0
        module.log_ratio_scale.fill_(scale)
        for logits, tensors in _logits(module, molecules):
            target = tensors[REGISTRY_KEYS.TARGET_KEY]
            p = module.log_proportions(logits, tensors[REGISTRY_KEYS.BATCH_KEY]).exp()
            depth = target.sum(1)
            mean = (p * logits).sum(1)
            slope += float((depth * mean).sum() - (target * logits).sum())
            curvature += float((depth * ((p * logits.square()).sum(1) - mean.square())).sum())
        if curvature <= 0:
            return 0.0
        step = slope / curvature
        scale = float(np.clip(scale - step, 0.0, 2.0))
        if abs(step) < 1e-3:
            break
    return scale


def _deviance(counts: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
    """Poisson deviance per gene, summed over cells."""
    rate = rate.clamp(min=1e-6)
    terms = torch.xlogy(counts, counts / rate) - counts + rate
    return 2 * terms.sum(0).double().cpu()
