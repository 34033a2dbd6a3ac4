"""A model reads any AnnData as it read that of its training, and leaves nothing in it or of it."""

from __future__ import annotations

import gc
import weakref

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scdtl import SCDTL
from scdtl.datasets import toy
from scdtl.pp import impute

BATCHES = {
    "none": None,
    "int": [1] * 30 + [2] * 30,
    "bool": [True] * 30 + [False] * 30,
    "float": [1.5] * 30 + [2.0] * 30,
    "date": pd.to_datetime(["2024-01-01"] * 30 + ["2024-02-01"] * 30),
    "string": ["a"] * 30 + ["b"] * 30,
    "category of int": pd.Categorical([2] * 30 + [10] * 30),
}
MATRICES = {
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
    "dense": lambda matrix: matrix.toarray(),
}


def cells(layer, batches, matrix):
    adata = toy()
    counts = MATRICES[matrix](adata.X)
    if layer is None:
        adata.X = counts
    else:
        adata.layers[layer] = counts
        adata.X = np.log1p(adata.X.toarray())
    if BATCHES[batches] is not None:
        adata.obs["lane"] = BATCHES[batches]
    return adata


def content(adata):
    return list(adata.obs), list(adata.uns), list(adata.obsm), list(adata.layers)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("layer", [None, "spliced"])
def test_own_cells_give_the_same_however_they_are_asked_for(layer, batches, matrix, tmp_path):
    adata = cells(layer, batches, matrix)
    key = None if BATCHES[batches] is None else "lane"
    model = impute(
        adata,
        layer=layer,
        batch_key=key,
        bulk=None,
        max_epochs=1,
        verbose=False,
        return_model=True,
    )
    before = content(adata)
    expected = adata.to_df(layer="scdtl")

    def agree(values):
        pd.testing.assert_frame_equal(values, expected, atol=1e-5, check_names=False)

    agree(model.get_imputed_expression())
    agree(model.get_imputed_expression(adata))
    agree(model.get_imputed_expression(adata[:, ::-1])[expected.columns])
    model.save(tmp_path / "model")
    loaded = SCDTL.load(tmp_path / "model", adata)
    agree(loaded.get_imputed_expression())
    agree(loaded.get_imputed_expression(adata))
    agree(SCDTL.load(tmp_path / "model", adata=False).get_imputed_expression(adata))
    assert content(adata) == before


@pytest.mark.parametrize("batches", ["int", "bool", "date"])
def test_a_model_set_up_by_hand_knows_batches_of_any_kind(batches, tmp_path):
    adata = cells("counts", batches, "csr_array")
    SCDTL.setup_anndata(adata, layer="counts", batch_key="lane")
    model = SCDTL(adata)
    model.train(max_epochs=1, enable_progress_bar=False)
    expected = model.get_imputed_expression()
    pd.testing.assert_frame_equal(model.get_imputed_expression(adata.copy()), expected, atol=1e-5)
    one = adata.obs["lane"].iloc[0]
    pd.testing.assert_frame_equal(
        model.get_imputed_expression(transform_batch=one).iloc[:30], expected.iloc[:30], atol=1e-5
    )
    model.save(tmp_path / "model")
    loaded = SCDTL.load(tmp_path / "model", adata)
    pd.testing.assert_frame_equal(loaded.get_imputed_expression(), expected, atol=1e-5)


@pytest.mark.parametrize("how", ["backed", "dask"])
def test_cells_that_are_not_in_memory_are_read(how, tmp_path):
    pytest.importorskip("dask")
    adata = toy()
    model = impute(adata, bulk=None, max_epochs=1, verbose=False, return_model=True)
    toy().write_h5ad(tmp_path / "a.h5ad")
    if how == "backed":
        query = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    else:
        import dask.array as da

        query = toy()
        query.X = da.from_array(query.X.toarray(), chunks=(20, 40))
    found = model.get_imputed_expression(query)
    pd.testing.assert_frame_equal(found, adata.to_df(layer="scdtl"), atol=1e-5, check_names=False)


def test_queries_leave_nothing_behind(tmp_path):
    model = impute(toy(), bulk=None, max_epochs=1, verbose=False, return_model=True)
    model.save(tmp_path / "model")
    seen = []
    for seed in range(3):
        sample = toy(n_obs=20, seed=seed)
        before = content(sample)
        model.get_imputed_expression(sample)
        model.get_latent_representation(sample[:, ::-1])
        model.posterior_predictive_sample(sample)
        model.get_attention(sample)
        SCDTL.load(tmp_path / "model", toy())
        assert content(sample) == before
        seen.append(weakref.ref(sample))
        del sample
    gc.collect()
    assert not any(reference() for reference in seen)


@pytest.mark.parametrize("way", ["impute", "load"])
def test_a_model_that_goes_lets_its_cells_go(way, tmp_path):
    adata = toy(n_batches=2)
    model = impute(
        adata, batch_key="batch", bulk=None, max_epochs=1, verbose=False, return_model=True
    )
    if way == "load":
        model.save(tmp_path / "model")
        model = SCDTL.load(tmp_path / "model", adata)
    n_setups = len(SCDTL._setup_adata_manager_store)
    alive = [weakref.ref(adata), weakref.ref(model), weakref.ref(model.adata)]
    n_instances = len(SCDTL._per_instance_manager_store)
    del model, adata
    gc.collect()
    assert [reference() for reference in alive] == [None] * 3
    assert len(SCDTL._per_instance_manager_store) < n_instances
    assert len(SCDTL._setup_adata_manager_store) == n_setups


def test_a_batch_that_the_model_does_not_know_is_named_and_the_advice_works(tmp_path):
    adata = toy(n_batches=2)
    model = impute(
        adata, batch_key="batch", bulk=None, max_epochs=1, verbose=False, return_model=True
    )
    model.save(tmp_path / "model")
    new = toy(n_obs=20, seed=1)
    new.obs["batch"] = "lane 9"
    message = r"not trained on \(lane 9\).*\(batch0, batch1\)"
    with pytest.raises(ValueError, match=message):
        model.get_imputed_expression(new)
    with pytest.raises(ValueError, match=message):
        SCDTL.load(tmp_path / "model", new)
    new.obs["batch"] = "batch0"
    assert model.get_imputed_expression(new).shape == (20, 40)


def test_a_query_without_batch_for_some_cells_is_refused():
    adata = toy(n_batches=2)
    model = impute(
        adata, batch_key="batch", bulk=None, max_epochs=1, verbose=False, return_model=True
    )
    query = adata.copy()
    query.obs["batch"] = query.obs["batch"].astype(object)
    query.obs.iloc[3, query.obs.columns.get_loc("batch")] = np.nan
    with pytest.raises(ValueError, match="no batch .NaN. for 1 of 60 cells"):
        model.get_imputed_expression(query)


def test_one_gene_is_named_in_a_list(toy_model):
    with pytest.raises(TypeError, match=r"gene_list=\['GENE1'\]"):
        toy_model.get_imputed_expression(gene_list="GENE1")
    assert list(toy_model.get_imputed_expression(gene_list=["GENE1"])) == ["GENE1"]


def test_setup_checks_counts_and_batches():
    adata = toy()
    with pytest.raises(KeyError, match="layer 'spliced'"):
        SCDTL.setup_anndata(adata, layer="spliced")
    adata.obs["lane"] = np.where(np.arange(60) < 3, np.nan, 1)
    with pytest.raises(ValueError, match="no batch"):
        SCDTL.setup_anndata(adata, batch_key="lane")
    adata.X = np.log1p(adata.X.toarray())
    with pytest.raises(ValueError, match="log-normalised"):
        SCDTL.setup_anndata(adata)
    assert not adata.uns
