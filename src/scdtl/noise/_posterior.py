r"""The gamma-Poisson posterior: how far an observed count is trusted against its prediction.

A gene's true rate in a cell is :math:`\lambda \sim \mathrm{Gamma}(\text{mean } \mu,
\text{shape } 1/\varphi)` around the prediction, and the count is Poisson around
:math:`\lambda`. The gamma is conjugate: given the count :math:`c` the rate is gamma again, with
shape :math:`1/\varphi + c` and rate :math:`1/(\varphi\mu) + 1`.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

_GENES_PER_STRATUM = 200

Array = TypeVar("Array", np.ndarray, torch.Tensor)


def posterior_mean(mu: Array, counts: Array, dispersion: Array) -> Array:
    r"""Mean of the rate given its count, :math:`\mu (1 + \varphi c) / (1 + \varphi \mu)`.

    Parameters
    ----------
    mu
        Predicted counts, cells × genes.
    counts
        Observed counts, cells × genes.
    dispersion
        Over-dispersion per gene; 0 trusts the prediction, infinity the count.
    """
    return mu * (1 + dispersion * counts) / (1 + dispersion * mu)


def posterior_variation(counts: Array, dispersion: Array) -> Array:
    r"""Squared coefficient of variation of the rate given its count, the inverse of its shape.

    Parameters
    ----------
    counts, dispersion
        As in :func:`posterior_mean`.
    """
    return dispersion / (1 + dispersion * counts)


def dispersion_moments(
    counts: Array, mu: Array, held_out: Array, mu_held_out: Array
) -> tuple[Array, Array]:
    r"""Numerator and denominator of the dispersion per gene, summed over these cells.

    :math:`\varphi = \sum (c - \mu)(t - \mu_t) / \sum \mu \mu_t`: the Poisson noises of
    observed and held-out molecules are independent, so only the spread of the rate is left.
    """
    return ((counts - mu) * (held_out - mu_held_out)).sum(0), (mu * mu_held_out).sum(0)


def residual_moments(counts: Array, mu: Array) -> tuple[Array, Array]:
    r"""Numerator and denominator of the dispersion from residuals, summed over these cells.

    :math:`\varphi = \sum ((c - \mu)^2 - \mu) / \sum \mu^2`: the spread of counts beyond
    Poisson noise. All molecules count, so it is less noisy than :func:`dispersion_moments`; but
    a network that saw the counts leaves smaller residuals, so it is too low.
    """
    return ((counts - mu) ** 2 - mu).sum(0), (mu**2).sum(0)


def shrunken_dispersion(numerator: torch.Tensor, denominator: torch.Tensor) -> torch.Tensor:
    """Dispersion per gene, shrunken towards the pooled value of genes of like expression.

    The estimate of a gene has variance 1/denominator from Poisson noise; the prior has the
    pooled value as its mean and as its standard deviation. Never negative; 0 for genes that were
    not seen.

    Parameters
    ----------
    numerator, denominator
        Sums over cells from :func:`dispersion_moments`.
    """
    prior = torch.zeros_like(numerator)
    seen = torch.argsort(denominator, stable=True)[int((denominator <= 0).sum()) :]
    n_strata = max(1, len(seen) // _GENES_PER_STRATUM)
    for genes in torch.tensor_split(seen, n_strata):
        pooled = numerator[genes].sum() / denominator[genes].sum().clamp(min=1e-12)
        prior[genes] = pooled.clamp(min=0)
    precision = 1 / prior.clamp(min=1e-3).square()
    shrunken = (numerator + precision * prior) / (denominator + precision)
    return shrunken.clamp(min=0).float()


def expected_log1p(
    mean: torch.Tensor, shape: torch.Tensor, factor: torch.Tensor, n_terms: int = 12
) -> torch.Tensor:
    """Mean of log1p(factor × count) when the count is negative binomial.

    Small means are summed term by term up to ``n_terms``, the rest of the probability at its
    conditional mean; large ones are expanded to second order around the mean.

    Parameters
    ----------
    mean
        Mean of the count, cells × genes.
    shape
        Shape of the gamma whose mixture of Poissons the count is, cells × genes.
    factor
        Scale of the count inside the logarithm, cells × 1.
    """
    odds = mean / shape
    probability = torch.exp(-shape * torch.log1p(odds))
    success = odds / (1 + odds)
    left_probability = 1 - probability
    left_mean = mean.clone()
    total = torch.zeros_like(mean)
    for k in range(1, n_terms + 1):
        probability = probability * success * ((shape + (k - 1)) / k)
        total += probability * torch.log1p(factor * k)
        left_probability -= probability
        left_mean -= probability * k
    tail = left_probability.clamp_(min=0)
    tail_mean = (left_mean / tail.clamp(min=1e-6)).clamp_(min=n_terms + 1)
    total += tail * torch.log1p(factor * tail_mean)

    slope = factor / (1 + factor * mean)
    variance = mean * (1 + odds)
    expanded = torch.log1p(factor * mean) - 0.5 * slope.square() * variance
    return torch.where(mean > 0.75 * n_terms, expanded, total)
