"""Features that are not genes: antibodies, peaks, guides."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scdtl
from scdtl.pp import impute

N_TAGS = 20


@pytest.fixture
def both(pbmc_counts):
    """Genes and antibody tags of 120 cells, interleaved, and the genes alone."""
    genes = pbmc_counts[:120].copy()
    generator = np.random.default_rng(0)
    tags = generator.poisson(generator.lognormal(3, 1, (120, N_TAGS))).astype(np.float32)
    kinds = ["Gene Expression"] * genes.n_vars + ["Antibody Capture"] * N_TAGS
    names = [*genes.var_names, *(f"CD{i}_TotalSeqB" for i in range(N_TAGS))]
    var = pd.DataFrame({"feature_types": kinds}, index=names)
    both = anndata.AnnData(
        sparse.hstack([genes.X, sparse.csr_matrix(tags)]).tocsr(), obs=genes.obs, var=var
    )
    return both[:, generator.permutation(both.n_vars)].copy(), genes


def of_genes(adata, genes, key="scdtl"):
    return adata[:, genes.var_names].layers[key]


def test_other_features_change_nothing_for_genes_and_stay_as_they_were(both, caplog):
    both, genes = both
    before = both.X.copy()
    for adata in (both, genes):
        impute(adata, max_epochs=2, verbose=False, return_std=True)
    assert (
        f"{N_TAGS} features are not genes (var['feature_types']: Antibody Capture)" in caplog.text
    )
    for key in ("scdtl", "scdtl_std"):
        np.testing.assert_allclose(of_genes(both, genes, key), genes.layers[key], atol=1e-5)
    assert (both.X != before).nnz == 0
    tags = (both.var["feature_types"] == "Antibody Capture").to_numpy()
    assert isinstance(both.layers["scdtl"], np.ndarray)
    assert not both.layers["scdtl"][:, tags].any()
    assert both.var["scdtl_trust"][tags].isna().all()
    assert not both.var.loc[tags, ["scdtl_trusted", "scdtl_in_bulk"]].any(axis=None)
    trusted = both.var["scdtl_trusted"][genes.var_names]
    assert np.array_equal(trusted, genes.var["scdtl_trusted"])


def test_the_model_takes_the_same_cells_with_and_without_other_features(both, tmp_path):
    both, genes = both
    model = impute(both, bulk=None, max_epochs=1, verbose=False, return_model=True)
    own = model.get_imputed_expression()
    assert set(own.columns) == set(genes.var_names)
    pd.testing.assert_frame_equal(model.get_imputed_expression(both), own, atol=1e-5)
    model.save(tmp_path / "model")
    loaded = scdtl.SCDTL.load(tmp_path / "model", both)
    pd.testing.assert_frame_equal(loaded.get_imputed_expression(), own, atol=1e-5)


@pytest.mark.parametrize("options", [{"lazy": True}, {"out": "a.zarr"}, {"false_zero_rate": 0.05}])
def test_other_features_are_zero_wherever_the_layer_goes(both, options, tmp_path):
    pytest.importorskip("zarr")
    both, _ = both
    if "out" in options:
        options = {"out": tmp_path / options["out"]}
    expected = impute(both, bulk=None, max_epochs=1, copy=True, verbose=False)
    impute(both, bulk=None, max_epochs=1, verbose=False, **options)
    layer = both.layers["scdtl"]
    layer = layer.compute() if hasattr(layer, "compute") else layer.toarray()
    assert layer.shape == both.shape
    kept = layer > 0 if "false_zero_rate" in options else slice(None)
    np.testing.assert_allclose(layer[kept], expected.layers["scdtl"][kept], atol=1e-5)


def test_chosen_genes_must_be_genes(both):
    both, genes = both
    with pytest.raises(ValueError, match=r"not genes.*CD0_TotalSeqB"):
        impute(both, bulk=None, genes=["CD0_TotalSeqB"])
    chosen = list(genes.var_names[:3])
    impute(both, bulk=None, genes=chosen, max_epochs=1, verbose=False)
    assert set(both.var_names[np.unique(both.layers["scdtl"].indices)]) == set(chosen)


def test_the_model_class_says_how_to_choose_the_genes(both):
    both, genes = both
    with pytest.raises(ValueError, match=rf"{N_TAGS} features of adata are not genes") as error:
        scdtl.SCDTL.setup_anndata(both)
    advice = str(error.value).partition("select the genes, as in ")[2].rstrip(".")
    chosen = eval(advice, {"adata": both})
    assert set(chosen.var_names) == set(genes.var_names)
    scdtl.SCDTL.setup_anndata(chosen)


def test_another_convention_of_feature_types_leaves_nothing_out(adata):
    adata.var["feature_types"] = "transcript"
    impute(adata, bulk=None, max_epochs=1, verbose=False)
    assert (adata.layers["scdtl"] > 0).any(0).sum() > 30
