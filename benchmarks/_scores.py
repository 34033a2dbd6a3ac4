"""Scores of one imputed matrix: rows of a table, one for each way to read the rates."""

from __future__ import annotations

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

AS_PUBLISHED = "as published"
WITH_POSTERIOR = "with posterior"
OWN_POSTERIOR = "own posterior"


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
            }
        )
    return rows


def reference_scores(adata: AnnData, imputed: Imputed, *, has_posterior: bool) -> list[Row]:
    """Correlation with deep counts of the same cells, on log1p(CP10k)."""
    truth = log_cp10k(adata.layers[REFERENCE].toarray())
    counts = adata.X.toarray().astype(np.float64)
    rows: list[Row] = []
    for name, expected in lines(counts, imputed, has_posterior=has_posterior):
        predicted = log_cp10k(expected.mean)
        rows.append(
            {
                "line": name,
                "gene_r": float(np.nanmedian(metrics.pearson(truth, predicted, axis=0))),
                "cell_r": float(np.nanmedian(metrics.pearson(truth, predicted, axis=1))),
            }
        )
    return rows


def log_cp10k(rates: FloatArray) -> FloatArray:
    return np.log1p(rescale(rates.astype(np.float64), np.full(len(rates), 1e4)))


SCORES = {HELD_OUT: held_out_scores, REFERENCE: reference_scores}
