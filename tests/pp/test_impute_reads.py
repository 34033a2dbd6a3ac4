"""Tests of impute on reads, and of dropouts."""

from __future__ import annotations

import logging

import anndata
import numpy as np
import pytest
import torch
from scipy import sparse

import scdtl
from scdtl.pp import impute

QUICK = {"bulk": None, "max_epochs": 24, "verbose": False}


def log1p_10k(matrix):
    return np.log1p(1e4 * matrix / matrix.sum(1, keepdims=True))


@pytest.fixture(scope="module")
def imputed(pbmc_reads):
    """Reads, imputed; not to be changed."""
    adata = pbmc_reads.copy()
    impute(adata, **QUICK, return_dropout=True, return_std=True)
    return adata


@pytest.fixture(scope="module")
def alone(pbmc_reads):
    """Predicted from the other genes alone."""
    adata = pbmc_reads.copy()
    impute(adata, **QUICK, own_counts=False)
    return adata.layers["scdtl"]


def test_reads_are_recognised_and_it_is_told_why(pbmc_reads, caplog):
    adata = pbmc_reads.copy()
    with caplog.at_level(logging.INFO, logger="scdtl"):
        impute(adata, **(QUICK | {"verbose": True, "max_epochs": 1}))
    entry = adata.uns["scdtl"]["noise"]
    assert entry["model"] == "reads"
    assert entry["why"] in caplog.text
    assert "of held-out entries" in caplog.text
    assert entry["ones"] == pytest.approx((adata.X.data <= 1).mean())


def test_entries_that_dropped_out_are_predicted_better_than_by_their_gene(pbmc_reads, alone):
    before, after = pbmc_reads.layers["before"].toarray(), pbmc_reads.X.toarray()
    dropped = (before > 0) & (after == 0)
    truth = log1p_10k(before)
    of_gene = np.broadcast_to(log1p_10k(after).mean(0), truth.shape)
    # Whether dropped out or zero all along: the correlation over all zeros.
    zeros = after == 0
    ours, mean = (np.corrcoef(x[zeros], truth[zeros])[0, 1] for x in (alone, of_gene))
    assert ours > mean + 0.01
    assert alone[dropped].mean() > 1.5 * alone[zeros & ~dropped].mean()


def test_observed_values_stay_near_and_zeros_below_half_a_read(pbmc_reads, imputed):
    counts = pbmc_reads.X.toarray()
    size = counts.sum(1, keepdims=True)
    layer = imputed.layers["scdtl"]
    assert np.corrcoef(layer[counts > 0], log1p_10k(counts)[counts > 0])[0, 1] > 0.95
    half = np.broadcast_to(np.log1p(0.5e4 / size), counts.shape)
    assert (layer[counts == 0] <= half[counts == 0] + 1e-5).all()
    assert (imputed.layers["scdtl_std"] >= 0).all()


def test_probabilities_of_dropouts_are_at_zeros_and_higher_where_there_was_a_count(
    pbmc_reads, imputed
):
    chance = imputed.layers["scdtl_dropout"]
    assert sparse.issparse(chance)
    assert chance.data.min() >= 0.01
    assert chance.data.max() <= 1
    assert not chance.multiply(pbmc_reads.X > 0).nnz
    zeros = pbmc_reads.X.toarray() == 0
    dropped = (pbmc_reads.layers["before"].toarray() > 0) & zeros
    dense = chance.toarray()
    assert dense[dropped].mean() > 1.5 * dense[zeros & ~dropped].mean()


@pytest.mark.parametrize("threshold", [0.3, 0.6])
def test_only_likely_dropouts_are_filled(pbmc_reads, imputed, threshold):
    adata = pbmc_reads.copy()
    impute(adata, **QUICK, replace="dropouts", dropout_threshold=threshold)
    layer, counts = adata.layers["scdtl"], pbmc_reads.X.toarray()
    assert sparse.issparse(layer)
    filled = layer.toarray()
    np.testing.assert_allclose(filled[counts > 0], log1p_10k(counts)[counts > 0], rtol=1e-5)
    likely = imputed.layers["scdtl_dropout"].toarray() > threshold
    np.testing.assert_array_equal(filled[counts == 0] > 0, likely[counts == 0])


# Rates of molecules sum to the library size, so that those of other genes have a small say;
# without the sum, and in what the network says, there is none.
@pytest.mark.parametrize(("noise", "rtol"), [("umi", 2e-2), ("reads", 2e-4)])
def test_without_own_counts_a_value_does_not_depend_on_itself(pbmc_reads, noise, rtol):
    adata = pbmc_reads.copy()
    model = impute(adata, **QUICK, noise=noise, return_model=True)
    changed = pbmc_reads.copy()
    gene = int(np.argmax(np.asarray((changed.X > 0).sum(0)).ravel()))
    dense = changed.X.toarray()
    dense[:, gene] = np.where(dense[:, gene] > 0, 0, 7)
    changed.X = sparse.csr_matrix(dense)
    ask = {"own_counts": False, "return_numpy": True}
    before, after = (
        model.get_imputed_expression(a, **ask)[:, gene] for a in (pbmc_reads.copy(), changed)
    )
    np.testing.assert_allclose(after, before, rtol=rtol, atol=1e-5)
    module = model.module.cpu()
    order = module.gene_order
    scores_before, scores_after = (
        module.predicted(
            torch.from_numpy(a.X.toarray())[:, order],
            torch.zeros(a.n_obs).long(),
            own_counts=False,
        )
        for a in (pbmc_reads, changed)
    )
    if noise == "umi":
        before, after = (
            np.expm1(values) * scores.exp().sum(1).detach().numpy()
            for values, scores in ((before, scores_before), (after, scores_after))
        )
        np.testing.assert_allclose(after, before, rtol=2e-4)
    own = order == gene
    torch.testing.assert_close(scores_after[:, own], scores_before[:, own], rtol=1e-4, atol=1e-4)


def test_everything_else_works_as_for_molecules(pbmc_reads, imputed, tmp_path):
    adata = pbmc_reads.copy()
    adata.obs["batch"] = np.where(np.arange(adata.n_obs) % 2, "a", "b")
    options = QUICK | {"batch_key": "batch", "return_dropout": True, "return_std": True}
    model = impute(adata, **options, return_model=True)
    model.save(tmp_path / "model")
    loaded = scdtl.SCDTL.load(tmp_path / "model", adata)
    assert loaded.noise == "reads"
    values = loaded.get_imputed_expression(return_numpy=True, batch_size=64)
    np.testing.assert_array_equal(values, adata.layers["scdtl"])
    lazy, stored = pbmc_reads.copy(), pbmc_reads.copy()
    for other in (lazy, stored):
        other.obs["batch"] = adata.obs["batch"]
    impute(lazy, **options, lazy=True)
    impute(stored, **options, out=tmp_path / "out.zarr")
    on_disk = anndata.read_zarr(tmp_path / "out.zarr")
    for name in ("scdtl", "scdtl_std", "scdtl_dropout"):
        expected = adata.layers[name]
        expected = expected.toarray() if sparse.issparse(expected) else expected
        for layer in (lazy.layers[name].compute(), on_disk.layers[name]):
            dense = layer.toarray() if sparse.issparse(layer) else layer
            np.testing.assert_allclose(dense, expected, rtol=1e-5, atol=1e-6)
    draws = model.posterior_predictive_sample()
    assert draws.shape == adata.shape
    assert (draws.data == np.rint(draws.data)).all()


def test_the_scales_are_those_of_one_another(pbmc_reads):
    model = impute(pbmc_reads.copy(), **QUICK, return_model=True)
    size = np.asarray(pbmc_reads.X.sum(1))
    scales = {
        scale: model.get_imputed_expression(scale=scale, return_numpy=True)
        for scale in ("log1p", "normalized", "counts", "expected_log1p")
    }
    np.testing.assert_allclose(scales["log1p"], np.log1p(scales["normalized"]), rtol=1e-4)
    np.testing.assert_allclose(scales["counts"] * 1e4 / size, scales["normalized"], rtol=1e-3)
    np.testing.assert_allclose(scales["expected_log1p"], scales["log1p"], rtol=1e-4, atol=1e-6)


def test_tpm_give_what_the_reads_give(pbmc_reads):
    """But for the order of the cells, which follows their values."""
    tpm = pbmc_reads.copy()
    dense = tpm.X.toarray()
    tpm.X = sparse.csr_matrix(dense / dense.sum(1, keepdims=True) * 1e6)
    results = []
    for adata in (pbmc_reads.copy(), tpm):
        impute(adata, **QUICK, noise="reads", own_counts=False)
        results.append(adata.layers["scdtl"])
    assert np.corrcoef(results[0].ravel(), results[1].ravel())[0, 1] > 0.95


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"noise": "poisson"}, "noise='poisson' is unknown"),
        ({"dropout_threshold": 2}, "dropout_threshold must lie between"),
        ({"replace": "dropouts", "false_zero_rate": 0.1}, "already decides which zeros stay"),
    ],
)
def test_wrong_arguments_are_refused_before_work(pbmc_reads, kwargs, message):
    adata = pbmc_reads.copy()
    with pytest.raises(ValueError, match=message):
        impute(adata, **kwargs)
    assert list(adata.layers) == ["before"]


def test_molecules_have_dropouts_too(pbmc_counts):
    """The chance of a molecule in a second sample as large, against a real second sample."""
    deep = pbmc_counts[:300].X
    random = np.random.default_rng(0)
    first = deep.copy()
    first.data = random.binomial(deep.data.astype(int), 0.5).astype(np.float32)
    second = deep - first
    first.eliminate_zeros()
    adata = anndata.AnnData(first, var=pbmc_counts.var)
    impute(adata, bulk=None, verbose=False, return_dropout=True)
    chance = adata.layers["scdtl_dropout"].toarray()
    zeros = first.toarray() == 0
    again = second.toarray() > 0
    for low, high in ((0.05, 0.15), (0.15, 0.3), (0.3, 0.6)):
        inside = zeros & (chance >= low) & (chance < high)
        assert again[inside].mean() == pytest.approx(chance[inside].mean(), abs=0.06)


@pytest.mark.filterwarnings("ignore:Category 0 .* has fewer than 3 cells:UserWarning")
@pytest.mark.parametrize(
    "counts", [[[180.0]], [[0.0, 0.0], [3.0, 0.0]], [[1.5, 30.0], [2.0, 0.0]]]
)
def test_next_to_nothing_gives_numbers(counts):
    adata = anndata.AnnData(sparse.csr_matrix(counts, dtype=np.float32))
    adata.var_names = ["CD4", "LYZ"][: adata.n_vars]
    impute(adata, **QUICK, noise="reads", return_dropout=True, return_std=True)
    assert np.isfinite(adata.layers["scdtl"]).all()
    assert np.isfinite(adata.layers["scdtl_std"]).all()
    assert np.isfinite(adata.layers["scdtl_dropout"].data).all()
