"""Entries masked, as in the article of scDTL: the mask, and scores at the masked entries.

All masked entries are non-zero, and the protocol tells every method which they are. So a method
may predict E[x | x > 0], and its own zero there is no evidence: what counts is the prediction
before the entry's own count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anndata as ad
import numpy as np
from _posterior import Posterior, dispersion_by_moments, rescale
from _scores import AS_PUBLISHED, UNMASKED
from scipy import sparse
from scipy.optimize import brentq
from scipy.special import gammaln

if TYPE_CHECKING:
    from _peers import Imputed
    from _scores import Row
    from numpy.typing import NDArray

    FloatArray = NDArray[np.floating]

ZERO_TRUNCATED = "zero-truncated"

_MIN_DISPERSION = 1e-6  # of a negative binomial that is as good as Poisson
_MIN_MEAN = 1e-9  # below it the count is 1, if it is not 0
_NARROW = 0.005  # squared coefficient of variation
_BLOCK = 10_000_000


# Mask


def mask(adata: ad.AnnData, share: float, seed: int) -> ad.AnnData:
    """Set a share of the non-zero entries to zero in X; a layer keeps all counts."""
    full = adata.X.copy()
    full.eliminate_zeros()
    n_masked = round(share * full.nnz)
    masked = full.copy()
    masked.data[np.random.default_rng(seed).permutation(full.nnz)[:n_masked]] = 0
    masked.eliminate_zeros()
    return ad.AnnData(masked, var=adata.var[[]], layers={UNMASKED: full})


class Entries(NamedTuple):
    """The masked entries."""

    cells: NDArray[np.integer]
    genes: NDArray[np.integer]
    truth: FloatArray
    """log1p of counts per 10,000 of all counts of the cell."""


def masked_entries(adata: ad.AnnData) -> Entries:
    difference = sparse.coo_matrix(adata.layers[UNMASKED] - adata.X)
    difference.eliminate_zeros()
    cells, genes = difference.coords
    depth = _depth(adata)
    return Entries(cells, genes, np.log1p(1e4 * difference.data / depth[cells]))


def _depth(adata: ad.AnnData) -> FloatArray:
    return np.asarray(adata.layers[UNMASKED].sum(axis=1), dtype=np.float64).ravel()


# Scores


def masked_scores(adata: ad.AnnData, imputed: Imputed, *, has_posterior: bool) -> list[Row]:
    """Rates as published, and the zero-truncated mean; peers' dispersion is by moments."""
    entries = masked_entries(adata)
    counts = adata.X.toarray().astype(np.float64)
    if has_posterior:
        mean, dispersion = prior(counts, imputed.rates, imputed.std())
    else:
        mean = rescale(imputed.rates, counts.sum(axis=1))
        dispersion = dispersion_by_moments(counts, mean)
    depth = _depth(adata)
    at = entries.cells, entries.genes
    per_count = 1e4 / depth[entries.cells]
    truncated = zero_truncated(rescale(mean, depth)[at], dispersion[entries.genes], per_count)
    as_published = np.log1p(per_count * rescale(imputed.rates, depth)[at])
    return [
        {"line": AS_PUBLISHED, **_scores(adata, entries.truth, as_published)},
        {"line": ZERO_TRUNCATED, **_scores(adata, entries.truth, truncated)},
    ]


def gene_mean_scores(adata: ad.AnnData) -> Row:
    """Each masked entry predicted by the mean of its gene's non-zero entries: the floor."""
    entries = masked_entries(adata)
    observed = sparse.coo_matrix(adata.X)
    cells, genes = observed.coords
    values = np.log1p(1e4 * observed.data / _depth(adata)[cells])
    number = np.bincount(genes, minlength=adata.n_vars)
    total = np.bincount(genes, values, minlength=adata.n_vars)
    means = np.where(number > 0, total / np.maximum(number, 1), values.mean())
    return _scores(adata, entries.truth, means[entries.genes])


def _scores(adata: ad.AnnData, truth: FloatArray, predicted: FloatArray) -> Row:
    """At the masked entries; and over the matrix, in which nothing else differs."""
    error = predicted - truth
    everything = sparse.csr_matrix(adata.layers[UNMASKED], dtype=np.float64)
    everything = sparse.diags(1e4 / np.maximum(_depth(adata), 1)) @ everything
    n_entries = np.prod(adata.shape, dtype=np.float64)
    observed = np.log1p(everything.data)
    sums = observed.sum(), observed @ observed
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "l1": float(np.mean(np.abs(error))),
        "pearson": float(np.corrcoef(truth, predicted)[0, 1]) if predicted.std() > 0 else np.nan,
        "article_rmse": float(np.sqrt(np.sum(error**2) / n_entries)),
        "article_pearson": _matrix_pearson(truth, predicted, sums, n_entries),
    }


def _matrix_pearson(
    truth: FloatArray, predicted: FloatArray, sums: tuple[float, float], n_entries: float
) -> float:
    """Correlation of matrices that are equal but for some entries, from sum and sum of squares."""
    mean = sums[0] / n_entries
    mean_predicted = mean + (predicted - truth).sum() / n_entries
    square, cross = sums[1], sums[1] + truth @ (predicted - truth)
    square_predicted = sums[1] + predicted @ predicted - truth @ truth
    covariance = cross / n_entries - mean * mean_predicted
    variance = square / n_entries - mean**2
    variance_predicted = square_predicted / n_entries - mean_predicted**2
    return float(covariance / np.sqrt(variance * variance_predicted))


# Prediction before an entry's own count


def prior(counts: FloatArray, rates: FloatArray, std: FloatArray) -> Posterior:
    """Mean μ and dispersion φ before the counts, from the gamma posterior given them.

    The posterior of a count c has mean r = μ(1 + φc) / (1 + φμ) and squared coefficient of
    variation φ / (1 + φc), which gives φ; a gene's lowest count gives it best. Rows of `rates`
    are u·r, scaled to the cell's depth; u is such that Σμ is the depth as well.
    """
    rates, std = rates.astype(np.float64), std.astype(np.float64)
    lowest = np.where(rates > 0, counts, np.inf).argmin(axis=0), np.arange(rates.shape[1])
    variation = np.divide(std, rates, out=np.zeros_like(rates), where=rates > 0)[lowest] ** 2
    dispersion = variation / (1 - variation * counts[lowest])
    means = [
        _mean_before(*row, dispersion) if row[1].any() else row[1]
        for row in zip(counts, rates, strict=True)
    ]
    return Posterior(np.stack(means), dispersion)


def _mean_before(counts: FloatArray, rates: FloatArray, dispersion: FloatArray) -> FloatArray:
    """μ = r / (1 + φ(c - r)) of one cell."""
    depth, shape = counts.sum(), 1 + dispersion * counts
    lowest = (dispersion * rates / shape).max()

    def means(factor: float) -> FloatArray:
        return rates / (factor * shape - dispersion * rates)

    def too_many(factor: float) -> float:
        return means(factor).sum() / depth - 1

    # At twice the larger of 1 and `lowest` no denominator is below half of factor × shape.
    factor = brentq(too_many, lowest * (1 + 1e-12) + 1e-12, 2 * max(1, lowest))
    return means(factor)


# Zero-truncated mean


def zero_truncated(mean: FloatArray, dispersion: FloatArray, per_count: FloatArray) -> FloatArray:
    """Mean of log1p(per_count · n) given n > 0, for negative binomial n, entry by entry.

    Probabilities are summed, over each n while it is small and over a grid later.
    """
    mean, dispersion = np.maximum(mean, _MIN_MEAN), np.maximum(dispersion, _MIN_DISPERSION)
    variance = mean + dispersion * mean**2
    result = np.log1p(per_count * mean)
    result -= variance * per_count**2 / (2 * (1 + per_count * mean) ** 2)
    terms = mean + 8 * np.sqrt(variance) + 15 * mean * dispersion + 8
    bucket = np.where(variance < _NARROW * mean**2, 0, np.ceil(np.log2(terms))).astype(int)
    for power in np.unique(bucket[bucket > 0]):
        n, weight = _grid(2 ** int(power))
        chosen = np.flatnonzero(bucket == power)
        for part in np.array_split(chosen, len(chosen) * len(n) // _BLOCK + 1):
            p = weight * _probabilities(n, mean[part, None], dispersion[part, None])
            logs = np.log1p(per_count[part, None] * n)
            result[part] = (p * logs).sum(axis=1) / p.sum(axis=1)
    return result


def _grid(last: int) -> tuple[FloatArray, FloatArray]:
    """Counts from 1 on, 2 % apart once that is more than 1, and how many each stands for."""
    edges = [1]
    while edges[-1] <= last:
        edges.append(edges[-1] + max(1, edges[-1] // 50))
    starts, ends = np.array(edges[:-1], dtype=np.float64), np.array(edges[1:])
    return (starts + ends - 1) / 2, ends - starts


def _probabilities(n: FloatArray, mean: FloatArray, dispersion: FloatArray) -> FloatArray:
    """Of each n; a factor that is the same for all n of an entry is left out."""
    shape = 1 / dispersion
    odds = np.log(mean) - np.log(mean + shape)
    log_p = gammaln(n + shape) - gammaln(n + 1) + n * odds
    return np.exp(log_p - log_p.max(axis=1, keepdims=True))
