"""Tests of trusted genes: which they are, and that the others stay as observed."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
import torch
from anndata import AnnData
from scipy import sparse, stats

from scdtl import SCDTL
from scdtl.datasets import toy
from scdtl.metrics import gene_deviance_explained
from scdtl.pp import impute

QUICK = {"bulk": None, "max_epochs": 2}
EMPTY = "LYZ"


@pytest.fixture(scope="module")
def trusted_run(pbmc_split):
    """Nine tenths of real molecules, one gene without any, imputed with replace="trusted"."""
    observed = pbmc_split[0].copy()
    dense = observed.X.toarray()
    dense[:, observed.var_names == EMPTY] = 0
    observed.X = sparse.csr_matrix(dense)
    model = impute(observed, bulk=None, replace="trusted", return_model=True, verbose=False)
    return observed, model


@pytest.fixture(scope="module")
def trusted(trusted_run):
    return trusted_run[0].var["scdtl_trusted"].to_numpy()


def observed_on(scale, adata):
    """Observed values as scanpy normalises them."""
    if scale == "counts":
        return adata.X.toarray()
    result = adata.copy()
    sc.pp.normalize_total(result, target_sum=1e4)
    torch.set_num_threads(1)  # scanpy's numba resets torch's number as well
    if "log1p" in scale:
        sc.pp.log1p(result)
    return result.X.toarray()


# Which genes


def test_trusted_are_genes_with_a_trust_beyond_sampling_error(trusted_run, trusted):
    adata, model = trusted_run
    trust = adata.var["scdtl_trust"]
    assert adata.var["scdtl_trusted"].dtype == bool
    assert (trust[trusted] > 0).all()
    assert np.array_equal(model.trusted_genes, trusted)
    unsure = (trust > 0) & ~trusted
    for kind in (trusted, unsure, trust <= 0, trust.isna()):
        assert kind.sum() >= 10
    assert trust[trusted].median() > 3 * trust[unsure].median()


def test_independent_genes_are_rarely_trusted():
    random = np.random.default_rng(0)
    rates = random.lognormal(0, 1, 300)
    adata = AnnData(sparse.csr_matrix(random.poisson(rates, (400, 300)), dtype=np.float32))
    impute(adata, bulk=None, verbose=False)
    assert adata.var["scdtl_trust"].notna().sum() > 200
    assert adata.var["scdtl_trusted"].mean() < 0.1


def test_genes_with_little_evidence_are_not_trusted(trusted_run, trusted):
    adata, _ = trusted_run
    molecules = np.asarray(adata.X.sum(0)).ravel()
    trust = adata.var["scdtl_trust"].to_numpy()
    # The model holds out a tenth: fewer than 20 of these, and far more than 20 of those.
    assert np.isnan(trust[molecules < 100]).all()
    assert not trusted[molecules < 100].any()
    assert np.isfinite(trust[molecules > 400]).all()
    assert not trusted[adata.var_names == EMPTY].any()


def test_trusted_genes_are_predicted_better_than_the_others(pbmc_split, trusted_run, trusted):
    """Judged by molecules that neither training nor trust has seen."""
    held_out, (adata, model) = pbmc_split[1], trusted_run
    held_out = np.where(adata.var_names == EMPTY, 0, held_out)
    rates = model.get_imputed_expression(scale="normalized", return_numpy=True)
    explained = gene_deviance_explained(held_out, rates, adata.X)
    known = np.isfinite(explained)
    assert (known & ~trusted).sum() > 30
    better, worse = explained[known & trusted], explained[known & ~trusted]
    assert better.mean() > worse.mean() + 0.05
    assert (better > 0).mean() > 0.85
    assert (worse > 0).mean() < (better > 0).mean() - 0.1
    both = known & adata.var["scdtl_trust"].notna().to_numpy()
    assert stats.spearmanr(explained[both], adata.var["scdtl_trust"][both]).statistic > 0.7


def test_independent_genes_have_no_trust_to_speak_of():
    """There is nothing to predict beyond the mean: what is left is noise around zero."""
    adata = toy(n_obs=300)
    rng = np.random.default_rng(0)
    depth = rng.lognormal(0, 0.4, (300, 1))
    adata.X = sparse.csr_matrix(rng.poisson(depth * rng.uniform(1, 4, 40)), dtype=np.float32)
    impute(adata, bulk=None, verbose=False)
    assert adata.var["scdtl_trust"].notna().sum() > 30
    assert adata.var["scdtl_trust"].max() < 0.03
    assert adata.var["scdtl_trust"].mean() < 0


def test_trust_is_saved_with_the_model(trusted_run, trusted, tmp_path):
    _, model = trusted_run
    model.save(tmp_path / "model")
    again = SCDTL.load(tmp_path / "model", model.adata, accelerator="cpu")
    assert np.array_equal(again.trusted_genes, trusted)


# What they are replaced by


@pytest.mark.parametrize("scale", ["log1p", "normalized", "counts", "expected_log1p"])
def test_the_others_stay_exactly_as_observed(trusted_run, trusted, scale):
    adata, model = trusted_run
    values = model.get_imputed_expression(scale=scale, replace="trusted", return_numpy=True)
    denoised = model.get_imputed_expression(scale=scale, return_numpy=True)
    observed = observed_on(scale, adata)
    np.testing.assert_allclose(values[:, ~trusted], observed[:, ~trusted], rtol=1e-5)
    assert np.array_equal(values[:, ~trusted] == 0, adata.X.toarray()[:, ~trusted] == 0)
    assert np.array_equal(values[:, trusted], denoised[:, trusted])
    assert not np.allclose(values[:, trusted], observed[:, trusted], rtol=0.01)


def test_impute_writes_what_the_model_gives(trusted_run):
    adata, model = trusted_run
    values = model.get_imputed_expression(replace="trusted", return_numpy=True, batch_size=64)
    assert np.array_equal(adata.layers["scdtl"], values)
    assert adata.uns["scdtl"]["params"]["replace"] == "trusted"


def test_chosen_genes_and_cells_are_those_of_the_whole(trusted_run, trusted):
    _, model = trusted_run
    names = model.adata.var_names
    genes = [*names[~trusted][[5, 2]], *names[trusted][[9, 1]]]
    cells = [600, 3, 77]
    whole = model.get_imputed_expression(replace="trusted")
    some = model.get_imputed_expression(replace="trusted", gene_list=genes, indices=cells)
    np.testing.assert_allclose(some, whole[genes].iloc[cells], rtol=1e-4)
    assert list(some.columns) == genes


def test_other_cells_keep_their_own_counts(trusted_run, trusted):
    adata, model = trusted_run
    others = adata[::9].copy()
    others.X = sparse.csr_matrix(np.minimum(others.X.toarray(), 2))
    values = model.get_imputed_expression(
        others, replace="trusted", scale="counts", return_numpy=True
    )
    assert np.array_equal(values[:, ~trusted], others.X.toarray()[:, ~trusted])


@pytest.mark.parametrize(
    "options",
    [
        {"library_size": 1e4, "scale": "counts"},
        {"library_size": np.full(60, 100.0), "scale": "expected_log1p"},
        {"transform_batch": "batch0"},
    ],
    ids=["library size", "sizes", "batch"],
)
def test_options_that_contradict_observed_values_are_refused(toy_model, options):
    with pytest.raises(ValueError, match="replace='trusted' keeps observed values"):
        toy_model.get_imputed_expression(replace="trusted", **options)


def test_impute_refuses_them_before_any_work(adata, monkeypatch):
    monkeypatch.setattr(SCDTL, "train", lambda *args, **kwargs: pytest.fail("trained first"))
    with pytest.raises(ValueError, match="replace='trusted'"):
        impute(adata, **QUICK, replace="trusted", scale="counts", library_size=1e4)
    assert not adata.uns
    assert set(adata.layers) - {None} == {"rates"}


def test_a_taken_name_is_not_overwritten(adata):
    adata.var["scdtl_trusted"] = "mine"
    with pytest.raises(ValueError, match="scdtl_trusted"):
        impute(adata, **QUICK)
    assert (adata.var["scdtl_trusted"] == "mine").all()
