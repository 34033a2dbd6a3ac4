"""Entries that are zero though the gene is expressed: hidden ones, and those of shallow counts.

The true value of each is known: it was there before it was hidden, or deep counts of the same cell
have it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anndata as ad
import numpy as np
from _data import REFERENCE
from _scores import AS_PUBLISHED, OWN_POSTERIOR, log_cp10k, logs_of
from scipy import sparse
from scipy.special import logit
from sklearn.metrics import roc_auc_score, roc_curve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _peers import Imputed
    from _scores import Row
    from numpy.typing import NDArray

    from scdtl import SCDTL

    FloatArray = NDArray[np.floating]
    BoolArray = NDArray[np.bool_]

COMPLETE, IS_HIDDEN = "complete", "is_hidden"
OTHER_GENES = "other genes alone"
IF_EXPRESSED = "if expressed"
VALUES_KEPT = "observed values kept"
DROPOUTS_FILLED = "likely dropouts filled"

_MIN_POSITIVE = 5
_MOST_CALLS = 200_000


# Data


def hide(adata: ad.AnnData, seed: int, share: float = 0.1) -> ad.AnnData:
    """Set a share of all entries to zero in X; a layer keeps all, and one tells which."""
    hidden = np.random.default_rng(seed).random(adata.shape) < share
    shown = adata.X.toarray()
    shown[hidden] = 0
    layers = {COMPLETE: adata.X.copy(), IS_HIDDEN: sparse.csr_matrix(hidden)}
    return ad.AnnData(sparse.csr_matrix(shown), var=adata.var[[]], layers=layers)


def thin(adata: ad.AnnData, seed: int, share: float) -> ad.AnnData:
    """Counts drawn binomially in X, all of them in a layer."""
    shallow = adata.X.copy()
    random = np.random.default_rng(seed)
    shallow.data = random.binomial(adata.X.data.astype(np.int64), share).astype(np.float32)
    shallow.eliminate_zeros()
    return ad.AnnData(shallow, var=adata.var[[]], layers={REFERENCE: adata.X.copy()})


def as_tpm(adata: ad.AnnData, seed: int, *, rounded: bool) -> ad.AnnData:
    """Counts per made-up gene length (log-normal), a million in each cell."""
    lengths = np.random.default_rng(seed).lognormal(np.log(2_000), 0.8, adata.n_vars)
    per_length = sparse.csr_matrix(adata.X @ sparse.diags(1 / lengths))
    tpm = sparse.csr_matrix(sparse.diags(1e6 / per_length.sum(axis=1).A1) @ per_length)
    if rounded:
        tpm.data = np.rint(tpm.data)
        tpm.eliminate_zeros()
    return ad.AnnData(tpm.astype(np.float32), var=adata.var[[]])


# Scores


class Line(NamedTuple):
    """One way to read what a method gives: values, and by what zeros are called dropouts."""

    name: str
    logs: FloatArray
    chance: FloatArray


def lines(counts: FloatArray, imputed: Imputed) -> Iterator[Line]:
    """Peers once, called by their values; scdtl with an entry's own count and without."""
    if imputed.model is None:
        logs = logs_of(imputed, counts)
        yield Line(AS_PUBLISHED, logs, logs)
        return
    for name, own_counts in ((OWN_POSTERIOR, True), (OTHER_GENES, False)):
        logs, chance = imputed.model.get_imputed_expression(
            own_counts=own_counts, return_dropout=True, return_numpy=True
        )
        yield Line(name, logs, chance.toarray())


def hidden_scores(adata: ad.AnnData, imputed: Imputed, *, has_posterior: bool) -> list[Row]:
    """Scores at hidden entries, of scdtl also whether its trusted genes are better there."""
    hidden = adata.layers[IS_HIDDEN].toarray().astype(bool)
    truth = log_cp10k(adata.layers[COMPLETE].toarray())
    counts = adata.X.toarray().astype(np.float64)
    of_mean = (log_cp10k(counts).mean(axis=0) - truth) ** 2 * hidden
    positive = truth > 0
    rows: list[Row] = []
    for name, logs, chance in [*lines(counts, imputed), *_if_expressed(imputed)]:
        nonzero = agreement(truth[hidden & positive], logs[hidden & positive])
        of_method = (logs - truth) ** 2 * hidden
        rows.append(
            {
                "line": name,
                **agreement(truth[hidden], logs[hidden]),
                **{f"{score}_nonzero": value for score, value in nonzero.items()},
                "auc": float(roc_auc_score(positive[hidden], chance[hidden])),
                "explained": float(1 - of_method.sum() / of_mean.sum()),
            }
        )
        if name == OTHER_GENES and imputed.model is not None:
            enough = (hidden & positive).sum(axis=0) >= _MIN_POSITIVE
            better = of_method.sum(axis=0) < of_mean.sum(axis=0)
            rows[-1] |= _of_trusted_genes(imputed.model, enough, better)
    return rows


def _if_expressed(imputed: Imputed) -> Iterator[Line]:
    """What scdtl fills a zero with if it is a dropout: the value for entries that are not zero."""
    if imputed.model is not None:
        logs, chance = imputed.model.get_imputed_expression(
            replace="dropouts", dropout_threshold=0, return_dropout=True, return_numpy=True
        )
        yield Line(IF_EXPRESSED, logs.toarray(), chance.toarray())


def _of_trusted_genes(model: SCDTL, enough: BoolArray, better: BoolArray) -> Row:
    """How many genes are trusted, and whether these are better than their mean."""
    trusted = model.trusted_genes
    return {
        "own_score": float(model.held_out_["deviance_explained"]),
        "genes": len(trusted),
        "trusted": int(trusted.sum()),
        "judged": int((trusted & enough).sum()),
        "better_if_trusted": _mean(better[trusted & enough]),
        "better_if_not": _mean(better[~trusted & enough]),
    }


def deep_scores(adata: ad.AnnData, imputed: Imputed, *, has_posterior: bool) -> list[Row]:
    """Agreement of all entries with deep counts of the same cells, and calls among zeros."""
    counts = adata.X.toarray().astype(np.float64)
    truth, observed = log_cp10k(adata.layers[REFERENCE].toarray()), log_cp10k(counts)
    zeros = counts == 0
    rows: list[Row] = []
    for name, logs, chance in lines(counts, imputed):
        at_zeros, positive = chance[zeros], truth[zeros] > 0
        found = calls(at_zeros[positive], at_zeros[~positive])
        rows.append({"line": name, **agreement(truth, logs), **found})
        if imputed.model is None and (logs != observed).any():
            kept = np.where(zeros, logs, observed)
            rows.append({"line": VALUES_KEPT, **agreement(truth, kept)})
    if imputed.model is not None:
        filled = imputed.model.get_imputed_expression(replace="dropouts").toarray()
        rows.append({"line": DROPOUTS_FILLED, **agreement(truth, filled)})
    return rows


def detection_scores(adata: ad.AnnData) -> Row:
    """Calls by how often a gene is detected and how many genes a cell shows, and nothing else."""
    detected = adata.X.toarray() > 0
    chance = _logit(detected, axis=0) + _logit(detected, axis=1)
    if REFERENCE in adata.layers:
        positive = adata.layers[REFERENCE].toarray() > 0
        return calls(chance[~detected & positive], chance[~detected & ~positive])
    hidden = adata.layers[IS_HIDDEN].toarray().astype(bool)
    positive = adata.layers[COMPLETE].toarray() > 0
    return {"auc": float(roc_auc_score(positive[hidden], chance[hidden]))}


def _logit(detected: BoolArray, axis: int) -> FloatArray:
    n = detected.shape[axis]
    return logit((detected.sum(axis=axis, keepdims=True) + 0.5) / (n + 1))


def agreement(truth: FloatArray, predicted: FloatArray) -> Row:
    """Error and correlation over entries."""
    truth, predicted = truth.ravel(), np.asarray(predicted, dtype=np.float64).ravel()
    return {
        "rmse": float(np.sqrt(np.mean((predicted - truth) ** 2))),
        "r": float(np.corrcoef(truth, predicted)[0, 1]) if np.ptp(predicted) > 0 else np.nan,
    }


def calls(dropouts: FloatArray, true_zeros: FloatArray) -> Row:
    """How well a score tells dropouts from true zeros, of at most 200,000 each.

    `false_fills` is the share of the true zeros above the threshold at which half of the dropouts
    are found.
    """
    random = np.random.default_rng(0)
    drawn = [
        random.choice(scores, min(len(scores), _MOST_CALLS), replace=False)
        for scores in (dropouts, true_zeros)
    ]
    is_dropout = np.repeat([True, False], [len(scores) for scores in drawn])
    false, found, _ = roc_curve(is_dropout, np.concatenate(drawn))
    return {
        "auc": float(np.trapezoid(found, false)),
        "false_fills": float(np.interp(0.5, found, false)),
    }


def _mean(values: BoolArray) -> float:
    return float(values.mean()) if len(values) else float("nan")
