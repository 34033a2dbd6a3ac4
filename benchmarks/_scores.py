"""Scores of one imputed matrix: rows of a table, one for each way to read the rates."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from _data import HELD_OUT, REFERENCE
from _posterior import Posterior, expected_log1p, posterior, rescale

from scdtl import metrics

if TYPE_CHECKING:
    from _peers import Imputed
    from anndata import AnnData
    from numpy.typing import NDArray

    FloatArray = NDArray[np.floating]
    Row = dict[str, str | float]

UNMASKED, LABELS, BULK, MARKERS = "unmasked", "labels", "bulk", "markers"
HIDDEN, PAIRS = "hidden", "pairs"
AS_PUBLISHED = "as published"
WITH_POSTERIOR = "with posterior"
OWN_POSTERIOR = "own posterior"
TIMES, POWER = " × 1e-6", " ^ 1.3"
"""What stands behind a score's name in columns for the rates so transformed."""


class Line(NamedTuple):
    """One way to read a method's rates."""

    name: str
    expected: Posterior


def lines(counts: FloatArray, imputed: Imputed, *, has_posterior: bool) -> list[Line]:
    """Peers as published and with the common posterior; a method with its own, once."""
    certain = Posterior(imputed.rates, np.zeros(1))
    if has_posterior:
        return [Line(OWN_POSTERIOR, certain)]
    return [Line(AS_PUBLISHED, certain), Line(WITH_POSTERIOR, posterior(counts, imputed.rates))]


def held_out_scores(adata: AnnData, imputed: Imputed, *, has_posterior: bool) -> list[Row]:
    """Scores on molecules set aside."""
    held_out = adata.layers[HELD_OUT]
    counts = adata.X.toarray().astype(np.float64)
    library_size = np.asarray(held_out.sum(axis=1), dtype=np.float64).ravel()
    truth = log_cp10k(held_out.toarray())
    no_denoising = metrics.mse(truth, log_cp10k(counts))
    rows: list[Row] = []
    for name, expected in lines(counts, imputed, has_posterior=has_posterior):
        gene_d2 = metrics.gene_deviance_explained(held_out, expected.mean, adata.X)
        if imputed.expected_log1p is None:
            expected_log = expected_log1p(expected, library_size)
        else:
            expected_log = imputed.expected_log1p(library_size)
        as_given = metrics.mse(truth, log_cp10k(expected.mean))
        rows.append(
            {
                "line": name,
                "poisson_score": metrics.poisson_score(held_out, expected.mean, adata.X),
                "gene_d2": float(np.nanmean(gene_d2)),
                "scored_genes": int(np.sum(~np.isnan(gene_d2))),
                "mse_score": 1 - as_given / no_denoising,
                "mse_score_expected": 1 - metrics.mse(truth, expected_log) / no_denoising,
                **openproblems_scores(held_out.toarray(), counts, expected.mean),
            }
        )
        if has_posterior:  # rates that know no more than these, and what the metrics make of them
            for suffix, gamed in ((TIMES, expected.mean * 1e-6), (POWER, expected.mean**1.3)):
                scores = openproblems_scores(held_out.toarray(), counts, gamed)
                rows[-1] |= {f"{score}{suffix}": value for score, value in scores.items()}
    return rows


def openproblems_scores(held_out: FloatArray, counts: FloatArray, rates: FloatArray) -> Row:
    """Metrics of OpenProblems' denoising task as shipped: 0 no denoising, 1 "perfect denoising".

    The Poisson loss is that of openproblems/tasks/denoising/metrics/poisson.py of their first
    version (and of task_denoising at first, which has the arguments in order by now):
    `poisson_nll_loss(test, denoised)` of a function of (prediction, target). So the molecules are
    taken for the rate, and the rates for the molecules. All is scaled by one factor for all
    cells, `test.sum() / train.sum()`, the "perfect" test molecules too. Their MSE is on log1p of
    `normalize_total(1e4)`. Genes without a training molecule are left out.
    """
    seen = counts.sum(axis=0) > 0
    held_out, counts, rates = (matrix[:, seen] for matrix in (held_out, counts, rates))
    share = held_out.sum() / counts.sum()
    logs = np.log(held_out + 1e-6)
    truth = log_cp10k(held_out)

    def poisson(denoised: FloatArray) -> float:
        return float(np.mean(held_out - share * denoised * logs))

    def mse(denoised: FloatArray) -> float:
        return metrics.mse(truth, log_cp10k(denoised))

    return {
        f"openproblems_{loss.__name__}": (loss(counts) - loss(rates))
        / (loss(counts) - loss(held_out))
        for loss in (poisson, mse)
    }


def reference_scores(adata: AnnData, imputed: Imputed, *, has_posterior: bool) -> list[Row]:
    """Agreement with deep counts of the same cells, on log1p(CP10k).

    Correlations of the rates, and of the mean of log1p(CP10k) at the reference's depth. The
    reference's noise weakens its correlations of genes, so these are compared with those of
    counts drawn at its depth from the posterior.
    """
    deep = adata.layers[REFERENCE].toarray()
    depth = deep.sum(axis=1, dtype=np.float64)
    truth = log_cp10k(deep)
    counts = adata.X.toarray().astype(np.float64)
    rows: list[Row] = []
    for name, expected in lines(counts, imputed, has_posterior=has_posterior):
        own = imputed.expected_log1p
        expected_log = expected_log1p(expected, depth) if own is None else own(depth)
        if imputed.std is not None:
            mean = np.maximum(expected.mean, 1e-12)
            expected = Posterior(expected.mean, (imputed.std() / mean) ** 2)
        row: Row = {"line": name}
        for suffix, predicted in (("", log_cp10k(expected.mean)), ("_expected", expected_log)):
            for score, axis in (("gene_r", 0), ("cell_r", 1)):
                correlation = metrics.pearson(truth, predicted, axis=axis)
                row[f"{score}{suffix}"] = float(np.nanmedian(correlation))
        drawn = log_cp10k(_predictive(expected, depth))
        row["gene_gene_error"] = _gene_gene_error(truth, drawn)
        rows.append(row)
    return rows


def _predictive(expected: Posterior, depth: FloatArray) -> FloatArray:
    """Counts at a depth per cell: a gamma draw of each rate, then a Poisson draw."""
    generator = np.random.default_rng(0)
    mean = rescale(expected.mean, depth).astype(np.float64)
    dispersion = np.broadcast_to(expected.dispersion, mean.shape)
    shape = 1 / np.maximum(dispersion, 1e-9)
    return generator.poisson(generator.gamma(shape, mean / shape)).astype(np.float64)


def _gene_gene_error(truth: FloatArray, drawn: FloatArray) -> float:
    """Mean absolute difference of the correlations of all pairs of genes that vary in both."""
    vary = (truth.std(axis=0) > 0) & (drawn.std(axis=0) > 0)
    difference = np.corrcoef(truth[:, vary].T) - np.corrcoef(drawn[:, vary].T)
    return float(np.abs(difference[np.triu_indices(len(difference), 1)]).mean())


def log_cp10k(rates: FloatArray) -> FloatArray:
    return np.log1p(rescale(rates.astype(np.float64), np.full(len(rates), 1e4)))


def logs_of(imputed: Imputed, counts: FloatArray) -> FloatArray:
    """log1p(CP10k) of what a method gives for these counts, by its own sums if it has no depth."""
    if not imputed.has_depth:
        return log_cp10k(imputed.rates)
    depth = counts.sum(axis=1, keepdims=True, dtype=np.float64)
    return np.log1p(1e4 * imputed.rates / np.where(depth > 0, depth, 1))


def _in_file(
    module: str, name: str, adata: AnnData, imputed: Imputed, *, has_posterior: bool
) -> list[Row]:
    """Scores of a file that is imported when they are asked for, as it imports this one."""
    return getattr(import_module(module), name)(adata, imputed, has_posterior=has_posterior)


SCORES = {
    HELD_OUT: held_out_scores,
    REFERENCE: reference_scores,
    UNMASKED: partial(_in_file, "_masked", "masked_scores"),
    HIDDEN: partial(_in_file, "_dropouts", "hidden_scores"),
    PAIRS: partial(_in_file, "_dropouts", "deep_scores"),
    LABELS: partial(_in_file, "_clusters", "cluster_scores"),
    BULK: partial(_in_file, "_agreement", "bulk_scores"),
    MARKERS: partial(_in_file, "_agreement", "marker_scores"),
}
