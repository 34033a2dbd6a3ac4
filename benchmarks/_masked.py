"""Entries masked, as in the article of scDTL: the mask, and scores at the masked entries.

All masked entries are non-zero, and the protocol tells every method which they are. So a method
may predict E[x | x > 0], and its own zero there is no evidence: what counts is the prediction
before the entry's own count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anndata as ad
import numpy as np
from _dropouts import calls
from _posterior import dispersion_by_moments, rescale
from _scores import AS_PUBLISHED, OWN_POSTERIOR, UNMASKED, logs_of
from scipy import sparse
from scipy.special import gammaln

if TYPE_CHECKING:
    from _peers import Imputed
    from _scores import Row
    from numpy.typing import NDArray

    from scdtl import SCDTL

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
    """What a method gives, and the zero-truncated mean.

    The dispersion is by moments for all methods, scdtl too, of the entries that were not masked:
    zeros that are none would make it too large, and the protocol tells which they are.
    Dropouts are called by what a peer gives, and on its second line by the chance of a count under
    the negative binomial; by scdtl's probability of a dropout, and on its second line by that
    from the other genes alone.
    """
    entries = masked_entries(adata)
    at = entries.cells, entries.genes
    counts = adata.X.toarray().astype(np.float64)
    logs = logs_of(imputed, counts)
    if imputed.model is None:
        mean, from_others = rescale(imputed.rates, counts.sum(axis=1)), None
    else:
        mean, from_others = _from_other_genes(imputed.model)
    seen = mean.astype(np.float64)
    seen[at] = 0
    dispersion = dispersion_by_moments(counts, rescale(seen, counts.sum(axis=1)))
    if imputed.model is None:
        calls_by = logs, chance_of_count(mean, dispersion)
    else:
        calls_by = _chance(imputed.model), from_others
    depth = _depth(adata)
    per_count = 1e4 / depth[entries.cells]
    truncated = zero_truncated(rescale(mean, depth)[at], dispersion[entries.genes], per_count)
    line = OWN_POSTERIOR if has_posterior else AS_PUBLISHED
    true_zeros = adata.layers[UNMASKED].toarray() == 0
    return [
        {"line": line, **_scores(adata, entries.truth, values), **calls(by[at], by[true_zeros])}
        for line, values, by in zip(
            (line, ZERO_TRUNCATED), (logs[at], truncated), calls_by, strict=True
        )
    ]


def chance_of_count(mean: FloatArray, dispersion: FloatArray) -> FloatArray:
    """That a negative binomial is not zero."""
    dispersion = np.maximum(dispersion, _MIN_DISPERSION)
    return -np.expm1(-np.log1p(dispersion * mean) / dispersion)


def _from_other_genes(model: SCDTL) -> tuple[FloatArray, FloatArray]:
    """Mean before an entry's own count is looked at; probability of a dropout."""
    mean, chance = model.get_imputed_expression(
        scale="counts", own_counts=False, return_dropout=True, return_numpy=True
    )
    return mean, chance.toarray()


def _chance(model: SCDTL) -> FloatArray:
    """Probability of a dropout, its own zero in view."""
    return model.get_imputed_expression(return_dropout=True, return_numpy=True)[1].toarray()


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
