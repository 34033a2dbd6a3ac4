"""Tests of the numbers that impute writes: scales, depths, genes, observed values, zeros."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
from scipy import sparse

from scdtl.datasets import toy
from scdtl.pp import impute

QUICK = {"bulk": None, "max_epochs": 2}
SCALES = ("log1p", "normalized", "counts", "expected_log1p")


def with_gaps():
    """A toy whose first two cells and sixth gene have no counts."""
    adata = toy(n_batches=2)
    dense = adata.X.toarray()
    dense[:2] = 0
    dense[:, 5] = 0
    adata.X = sparse.csr_matrix(dense)
    return adata


def layer(adata=None, **options):
    adata = toy() if adata is None else adata
    return impute(adata, **(QUICK | options), copy=True).layers["scdtl"]


def depth():
    return np.asarray(toy().X.sum(1)).ravel()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("options", [{}, {"batch_key": "batch"}, {"replace": "zeros"}], ids=str)
def test_what_has_no_counts_stays_zero_and_nothing_is_nan(scale, options):
    result = impute(with_gaps(), **QUICK, scale=scale, **options, copy=True)
    values = result.layers["scdtl"]
    assert np.isfinite(values).all()
    assert np.isfinite(result.obsm["X_scdtl"]).all()
    assert (values[:2] == 0).all()
    assert (values[:, 5] == 0).all()
    assert (np.delete(values[2:], 5, axis=1) > 0).all()


@pytest.mark.parametrize("scale", ["log1p", "normalized", "counts"])
def test_standard_deviation_is_finite_and_zero_where_nothing_was_seen(scale):
    result = impute(with_gaps(), **QUICK, scale=scale, return_std=True, copy=True)
    std = result.layers["scdtl_std"]
    assert np.isfinite(std).all()
    assert std.min() >= 0
    assert std[2:].sum() > 0
    assert (std[:2] == 0).all()
    assert (std[:, 5] == 0).all()


@pytest.mark.filterwarnings("ignore:Category 0 .* has fewer than 3 cells:UserWarning")
@pytest.mark.parametrize(
    "counts",
    [np.zeros((60, 40)), np.ones((1, 40)), np.ones((60, 1)), np.ones((2, 2)), np.ones((1, 1))],
    ids=["all zero", "one cell", "one gene", "two by two", "one by one"],
)
def test_extreme_shapes_pass(counts):
    values = layer(anndata.AnnData(counts.astype(np.float32)), scale="counts", max_epochs=None)
    np.testing.assert_allclose(values.sum(1), counts.sum(1), rtol=1e-4)


def test_counts_sum_to_the_depth_of_the_cell():
    np.testing.assert_allclose(layer(scale="counts").sum(1), depth(), rtol=1e-4)


def test_normalized_sums_to_ten_thousand_and_is_counts_at_that_depth():
    normalized = layer(scale="normalized")
    np.testing.assert_allclose(normalized.sum(1), 1e4, rtol=1e-4)
    expected = layer(scale="counts") * (1e4 / depth())[:, None]
    np.testing.assert_allclose(normalized, expected, rtol=1e-4)


def test_log1p_is_the_log_of_normalized():
    np.testing.assert_allclose(layer(), np.log1p(layer(scale="normalized")), rtol=1e-5)


@pytest.mark.parametrize("size", [500.0, np.linspace(10, 1000, 60)], ids=["one", "per cell"])
def test_library_size_is_the_depth_of_the_result(size):
    values = layer(scale="counts", library_size=size)
    np.testing.assert_allclose(values.sum(1), np.broadcast_to(size, 60), rtol=1e-4)
    np.testing.assert_allclose(
        values / values.sum(1, keepdims=True), layer(scale="normalized") / 1e4, rtol=1e-4
    )


@pytest.mark.parametrize("size", [None, 300.0], ids=["own depth", "other depth"])
def test_expected_log1p_is_the_mean_over_posterior_and_sampling(size):
    adata = toy()
    _, model = impute(adata, **QUICK, scale="counts", copy=True, return_model=True)
    mean = model.get_imputed_expression(scale="counts", library_size=size, return_numpy=True)
    position = np.argsort(model.module.gene_order.cpu().numpy())
    dispersion = model.module.noise.dispersion.cpu().numpy()[position].clip(1e-3)
    shape = 1 / dispersion + adata.X.toarray()

    rng = np.random.default_rng(0)
    sizes = depth()[:, None] if size is None else size
    total, n_draws = np.zeros(adata.shape), 3_000
    for _ in range(n_draws):
        counts = rng.poisson(rng.gamma(shape, mean / shape))
        total += np.log1p(counts * (1e4 / sizes))
    found = layer(scale="expected_log1p", library_size=size)
    error = found - total / n_draws
    assert np.abs(error).max() < 0.4  # four standard errors of the simulation: up to 0.3
    assert np.abs(error).mean() < 0.05
    assert abs(error.mean()) < 0.005


@pytest.mark.parametrize("scale", SCALES)
def test_zeros_keeps_observed_values_and_fills_the_rest(scale):
    counts = toy().X.toarray()
    normalized = counts * (1e4 / depth())[:, None]
    observed = counts if scale == "counts" else normalized
    observed = np.log1p(normalized) if "log1p" in scale else observed
    values, seen = layer(scale=scale, replace="zeros"), counts > 0
    np.testing.assert_allclose(values[seen], observed[seen], rtol=1e-5)
    assert np.array_equal(values[~seen], layer(scale=scale)[~seen])
    assert (values[~seen] > 0).all()


@pytest.mark.parametrize("scale", ["log1p", "expected_log1p"])
def test_chosen_genes_are_stored_alone_and_equal_the_full_run(scale):
    adata = toy()
    genes = ["GENE7", "GENE2", "GENE39"]
    impute(adata, **QUICK, genes=genes, scale=scale, return_std=scale == "log1p")
    chosen, columns = adata.layers["scdtl"], [7, 2, 39]
    assert sparse.isspmatrix_csr(chosen)
    assert chosen.has_canonical_format
    assert chosen.shape == (60, 40)
    assert chosen.nnz == 180
    assert chosen.dtype == np.float32
    assert np.array_equal(chosen[:, columns].toarray(), layer(scale=scale)[:, columns])
    if scale == "log1p":
        assert adata.layers["scdtl_std"].nnz == 180


def test_standard_deviation_is_that_of_the_gamma_posterior():
    adata = toy()
    model = impute(adata, **QUICK, return_model=True)
    value, std = model.get_imputed_expression(scale="counts", return_std=True, return_numpy=True)
    position = np.argsort(model.module.gene_order.cpu().numpy())
    shape = 1 / model.module.noise.dispersion.cpu().numpy()[position] + adata.X.toarray()
    # A gamma's standard deviation is its mean over the root of its shape.
    np.testing.assert_allclose(std, value / np.sqrt(shape), rtol=1e-3, atol=1e-6)
