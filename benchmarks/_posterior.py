"""The gamma-Poisson posterior that every peer's rates are given, in NumPy.

Written apart from the package's own, so that the two can be compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.floating]

_MAX_TERMS = 4096


class Posterior(NamedTuple):
    """Gamma posterior of each rate, at the depth of the training counts."""

    mean: FloatArray
    dispersion: FloatArray
    """Squared coefficient of variation, 0 where the rate is certain."""


def rescale(rates: FloatArray, depth: FloatArray) -> FloatArray:
    """Rates with rows that sum to the cells' depths."""
    total = rates.sum(axis=1, dtype=np.float64)
    factor = np.divide(depth, total, out=np.zeros_like(total), where=total > 0)
    return rates * factor[:, None]


def dispersion_by_moments(counts: FloatArray, rates: FloatArray) -> FloatArray:
    """Dispersion per gene: φ = max(0, Σ((c - μ)² - μ) / Σμ²).

    Σμ² is taken no smaller than that of the mean profile. A peer whose rates of a rare gene
    collapse would get an unbounded dispersion; so it scores better (MAGIC), the others alike.
    """
    depth = counts.sum(axis=1)
    profile = counts.sum(axis=0) / max(counts.sum(), 1.0)
    least = (depth @ depth) * profile**2
    excess = np.sum((counts - rates) ** 2 - rates, axis=0)
    squares = np.maximum(np.sum(rates**2, axis=0), least)
    return np.maximum(np.divide(excess, squares, out=np.zeros_like(excess), where=squares > 0), 0)


def posterior(counts: FloatArray, rates: FloatArray) -> Posterior:
    """Posterior given the counts: mean μ(1 + φc) / (1 + φμ), dispersion φ / (1 + φc).

    The rates enter with rows scaled to the cells' depths.
    """
    rates = rescale(rates, counts.sum(axis=1))
    phi = dispersion_by_moments(counts, rates)
    shape = 1 + phi * counts
    return Posterior(rates * shape / (1 + phi * rates), phi / shape)


def expected_log1p(expected: Posterior, library_size: FloatArray) -> FloatArray:
    """Mean of log1p(counts per 10,000) of counts drawn at a library size per cell.

    Counts are Poisson given the rate, the rate gamma: a negative binomial, summed term by term.
    """
    mean = rescale(expected.mean, library_size).astype(np.float64)
    per_count = np.divide(1e4, library_size, out=np.zeros_like(mean[:, 0]), where=library_size > 0)
    return _mean_of_log1p(
        mean.ravel(),
        np.broadcast_to(expected.dispersion, mean.shape).ravel(),
        np.repeat(per_count, mean.shape[1]),
    ).reshape(mean.shape)


def _mean_of_log1p(mean: FloatArray, dispersion: FloatArray, scale: FloatArray) -> FloatArray:
    """Mean of log1p(scale · y) for negative binomial y, entry by entry.

    No tail is long: mean times dispersion of a posterior, φμ / (1 + φμ), is below 1.
    """
    variance = mean + dispersion * mean**2
    terms = mean + 8 * np.sqrt(variance) + 15 * mean * dispersion + 3
    narrow = (variance < 0.005 * mean**2) | (terms > _MAX_TERMS)
    result = np.empty(len(mean))
    result[narrow] = _second_order(mean[narrow], variance[narrow], scale[narrow])
    bucket = np.where(narrow, 0, np.ceil(np.log2(terms))).astype(int)
    for power in np.unique(bucket[bucket > 0]):
        chosen = np.flatnonzero(bucket == power)
        for part in np.array_split(chosen, len(chosen) // 200_000 + 1):
            result[part] = _sum_of_terms(
                mean[part], dispersion[part], scale[part], 2 ** int(power)
            )
    return result


def _second_order(mean: FloatArray, variance: FloatArray, scale: FloatArray) -> FloatArray:
    return np.log1p(scale * mean) - variance * scale**2 / (2 * (1 + scale * mean) ** 2)


def _sum_of_terms(
    mean: FloatArray, dispersion: FloatArray, scale: FloatArray, n_terms: int
) -> FloatArray:
    """Recurrence p(y + 1) = p(y) m(1 + ψy) / ((1 + ψm)(y + 1)) from p(0) = (1 + ψm)^(-1/ψ)."""
    psi = np.maximum(dispersion, 1e-12)
    probability = np.exp(-np.log1p(psi * mean) / psi)
    ratio = mean / (1 + psi * mean)
    total = np.zeros(len(mean))
    for y in range(1, n_terms + 1):
        probability *= ratio * (1 + psi * (y - 1)) / y
        total += probability * np.log1p(scale * y)
    return total
