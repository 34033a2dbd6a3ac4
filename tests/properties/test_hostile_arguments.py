"""Properties of metrics and tools on hostile arguments: our own errors, and data unchanged."""

from __future__ import annotations

import traceback
from pathlib import Path

import anndata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import scdtl
from scdtl import metrics
from scdtl.datasets import toy
from scdtl.tl import evaluate, rank_genes_groups

ROOT = str(Path(scdtl.__file__).parent)
OF_TWO = [metrics.mse, metrics.rmse, metrics.l1, metrics.pearson, metrics.poisson_deviance]
OF_THREE = [metrics.poisson_score, metrics.gene_deviance_explained]


def refused_by_us(call):
    """The error's text; it was raised by a statement of this package."""
    with pytest.raises((ValueError, TypeError, KeyError)) as raised:
        call()
    frame = traceback.extract_tb(raised.value.__traceback__)[-1]
    where = f"{frame.filename}:{frame.lineno}: {frame.line}: {raised.value!r}"
    assert frame.filename.startswith(ROOT), where
    assert frame.line.startswith("raise "), where
    return str(raised.value)


# Metrics


def matrices():
    rng = np.random.default_rng(0)
    return [rng.poisson(3, (6, 4)).astype(float) for _ in range(3)]


def with_value(value):
    changed = matrices()[0]
    changed[2, 3] = value
    return changed


MISFITS = {
    "another shape": np.ones((6, 5)),
    "transposed": np.ones((4, 6)),
    "one dimension": np.ones(6),
    "three dimensions": np.ones((6, 4, 1)),
    "empty": np.ones((0, 4)),
    "a number": 3.0,
    "None": None,
    "texts": np.full((6, 4), "1"),
    "objects": np.full((6, 4), None),
    "complex": np.full((6, 4), 1j),
    "list": [[1.0] * 4] * 6,
}
NO_RATES = {
    "negative": with_value(-1.0),
    "NaN": with_value(np.nan),
    "infinite": with_value(np.inf),
    "sparse negative": sparse.csr_matrix(with_value(-1.0)),
    "sparse NaN": sparse.csc_array(with_value(np.nan)),
}


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("misfit", MISFITS.values(), ids=MISFITS)
@pytest.mark.parametrize("metric", OF_TWO, ids=lambda metric: metric.__name__)
def test_a_metric_of_two_refuses_what_is_no_matching_matrix(metric, misfit, position):
    given_ = matrices()[:2]
    given_[position] = misfit
    refused_by_us(lambda: metric(*given_))


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("misfit", (MISFITS | NO_RATES).values(), ids=MISFITS | NO_RATES)
@pytest.mark.parametrize("metric", OF_THREE, ids=lambda metric: metric.__name__)
def test_a_score_of_held_out_molecules_refuses_the_same_and_no_rates(metric, misfit, position):
    given_ = matrices()
    given_[position] = misfit
    refused_by_us(lambda: metric(*given_))


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("misfit", NO_RATES.values(), ids=NO_RATES)
def test_the_deviance_refuses_what_is_no_rate(misfit, position):
    given_ = matrices()[:2]
    given_[position] = misfit
    refused_by_us(lambda: metrics.poisson_deviance(*given_))


@pytest.mark.parametrize("axis", [2, -1, "cells", 0.5, (0, 1)])
@pytest.mark.parametrize("metric", OF_TWO, ids=lambda metric: metric.__name__)
def test_a_metric_refuses_an_axis_that_is_none(metric, axis):
    assert "axis" in refused_by_us(lambda: metric(*matrices()[:2], axis=axis))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("metric", OF_TWO[:4], ids=lambda metric: metric.__name__)
def test_errors_of_what_is_not_finite_are_not_finite_and_local(metric, value):
    truth, prediction = with_value(value), matrices()[1]
    with np.errstate(invalid="ignore"):
        by_gene = metric(truth, prediction, axis=0)
    assert not np.isfinite(by_gene[3])
    np.testing.assert_allclose(by_gene[:3], metric(truth[:, :3], prediction[:, :3], axis=0))


@given(seed=st.integers(0, 2**16), shape=st.tuples(st.integers(1, 6), st.integers(1, 6)))
@settings(deadline=None, max_examples=50)
def test_metrics_are_numbers_in_their_range_for_sparse_and_dense(seed, shape):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.3, 3, shape))
    rates = rng.gamma(0.5, 2, shape) * (rng.random(shape) < 0.8)
    for form in (np.asarray, sparse.csr_matrix, sparse.csc_array):
        for metric in (metrics.mse, metrics.rmse, metrics.l1):
            assert 0 <= metric(form(counts), form(rates)) < np.inf
        assert 0 <= metrics.poisson_deviance(form(counts), form(rates))
        r = metrics.pearson(form(counts), form(rates), axis=1)
        assert ((np.abs(r) <= 1) | np.isnan(r)).all()
        explained = metrics.gene_deviance_explained(form(counts), form(rates), form(counts), 1)
        assert ((explained <= 1) | np.isnan(explained)).all()
    dense = metrics.poisson_deviance(counts, rates, axis=0)
    np.testing.assert_allclose(
        metrics.poisson_deviance(sparse.csc_array(counts), sparse.csr_matrix(rates), axis=0),
        dense,
        atol=1e-9,
    )


# Tools


def no_data():
    adata = toy(12, 8)
    names = adata.copy()
    names.var_names = ["A", *names.var_names[:-1]]
    names.var_names = ["GENE1", *names.var_names[1:-1], "GENE1"]
    return {
        "no AnnData": adata.X,
        "None": None,
        "no cells": adata[:0].copy(),
        "no genes": adata[:, :0].copy(),
        "repeated names": names,
        "logarithms": anndata.AnnData(np.log1p(adata.X.toarray()), adata.obs, adata.var),
        "negative": anndata.AnnData(-adata.X, adata.obs, adata.var),
        "NaN": anndata.AnnData(adata.X * np.nan, adata.obs, adata.var),
        "no matrix": anndata.AnnData(obs=adata.obs, var=adata.var),
    }


@pytest.mark.filterwarnings("ignore:Variable names are not unique:UserWarning")  # of anndata
@pytest.mark.parametrize("kind", list(no_data()))
@pytest.mark.parametrize("tool", ["evaluate", "rank_genes_groups"])
def test_a_tool_refuses_what_impute_refuses(tool, kind):
    adata = no_data()[kind]
    if tool == "evaluate":
        refused_by_us(lambda: evaluate(adata, methods=["observed"]))
    else:
        refused_by_us(lambda: rank_genes_groups(adata, "cell_type"))


WRONG_FOR_EVALUATE: dict[str, list] = {
    "methods": [[], ["magician"], "magician", 5, [None]],
    "layer": ["other", 0],
    "batch_key": ["other", 0],
    "held_out_fraction": [0, 1, -1, 2, np.nan, "0.1", None],
    "n_splits": [0, -1, 1.5, "2", None],
    "random_state": [-1, 1.5, "0", None],
    "max_epoch": [3],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in WRONG_FOR_EVALUATE.items() for value in values],
    ids=str,
)
def test_evaluate_refuses_wrong_options(name, value):
    adata = toy(12, 8)
    refused_by_us(lambda: evaluate(adata, **({"methods": ["observed"]} | {name: value})))


def test_evaluate_refuses_cells_without_molecules():
    adata = toy(12, 8)
    adata.X = adata.X * 0
    refused_by_us(lambda: evaluate(adata, methods=["observed"]))


@pytest.mark.parametrize(
    "rates",
    [
        None,
        5,
        "rates",
        np.ones((12, 7)),
        np.ones((8, 12)),
        np.ones(96),
        np.full((12, 8), np.nan),
        np.full((12, 8), -1.0),
        np.full((12, 8), np.inf),
        np.full((12, 8), "1"),
        sparse.csr_matrix(np.full((12, 8), np.nan)),
    ],
    ids=lambda rates: f"{type(rates).__name__} {getattr(rates, 'shape', rates)}",
)
def test_evaluate_refuses_a_method_that_gives_no_rates_by_its_name(rates):
    def mine(adata):
        return rates

    assert "mine" in refused_by_us(lambda: evaluate(toy(12, 8), methods=[mine]))


WRONG_FOR_RANK: dict[str, list] = {
    "groupby": ["other", 0, None],
    "groups": [[], ["other"], "type0", 5, [None]],
    "reference": ["other", 5, None],
    "n_genes": [0, -1, 1.5, "3"],
    "corr_method": ["holm", None],
    "layer": ["other", 0],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in WRONG_FOR_RANK.items() for value in values],
    ids=str,
)
def test_rank_genes_groups_refuses_wrong_options(name, value):
    adata = toy(12, 8)
    refused_by_us(lambda: rank_genes_groups(adata, **({"groupby": "cell_type"} | {name: value})))
    assert "rank_genes_groups" not in adata.uns


@given(
    seed=st.integers(0, 2**16),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 5)),
    n_groups=st.integers(1, 4),
    share=st.sampled_from([0, 0.3, 1]),
)
@settings(deadline=None, max_examples=60)
def test_rank_genes_groups_gives_p_values_or_our_error(seed, shape, n_groups, share):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.3, 3, shape)) * (rng.random(shape) < share)
    adata = anndata.AnnData(sparse.csr_matrix(counts, dtype=np.float32))
    groups = rng.integers(0, n_groups, len(counts)).astype(str)
    adata.obs["group"] = np.where(groups == "3", None, groups)
    try:
        rank_genes_groups(adata, "group", pts=True)
    except ValueError as error:
        refused_by_us(lambda: rank_genes_groups(adata, "group"))
        assert len(str(error)) > 20  # noqa: PT017 - either way is right
        assert "rank_genes_groups" not in adata.uns
        return
    result = adata.uns["rank_genes_groups"]
    for name in result["pvals"].dtype.names:
        for kind in ("pvals", "pvals_adj"):
            assert ((result[kind][name] >= 0) & (result[kind][name] <= 1)).all()
        assert np.isfinite(result["scores"][name]).all()
        assert np.isfinite(result["logfoldchanges"][name]).all()
