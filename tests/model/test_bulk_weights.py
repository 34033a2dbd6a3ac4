"""Tests of what ``bulk=`` takes, and of what becomes of it."""

from __future__ import annotations

import re

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scdtl import SCDTL, BulkDAE
from scdtl.datasets import toy, toy_bulk
from scdtl.model._bulk_weights import as_weights
from scdtl.pp import impute

GENES = [f"GENE{number}" for number in range(40)]


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """Networks that were trained on bulk; training is short."""
    models = []
    train = BulkDAE.train

    def briefly(self, **kwargs):
        models.append(self)
        train(self, max_epochs=1, n_episodes=2, **kwargs)

    monkeypatch.setattr(BulkDAE, "train", briefly)
    return models


@pytest.fixture
def bulk():
    return toy_bulk()


def with_ensembl_ids(bulk):
    bulk.var_names = [f"ENSG{number:011d}.3" for number in range(bulk.n_vars)]
    return bulk


# Kinds


def in_zarr(bulk, folder):
    bulk.write_zarr(folder / "bulk.zarr")
    return folder / "bulk.zarr"


def lazily(bulk, folder):
    return anndata.experimental.read_lazy(in_zarr(bulk, folder))


def on_disk(bulk, folder):
    bulk.write_h5ad(folder / "bulk.h5ad")
    return folder / "bulk.h5ad"


def of_dask(bulk, folder):
    bulk.X = pytest.importorskip("dask.array").from_array(bulk.X.toarray(), chunks=(10, 40))
    return bulk


KINDS = {
    "AnnData": lambda bulk, _: bulk,
    "view": lambda bulk, _: anndata.concat([bulk, toy_bulk(3, seed=1)], index_unique="-")[:30],
    "objects": lambda bulk, _: anndata.AnnData(
        bulk.X.toarray().astype(object), bulk.obs, bulk.var
    ),
    "csc_array": lambda bulk, _: anndata.AnnData(sparse.csc_array(bulk.X), bulk.obs, bulk.var),
    "DataFrame": lambda bulk, _: anndata.AnnData(bulk.to_df().astype(int), bulk.obs),
    "dask": of_dask,
    "lazy": lazily,
    "backed": lambda bulk, folder: anndata.read_h5ad(on_disk(bulk, folder), backed="r"),
    "Path": on_disk,
    "zarr": in_zarr,
    "str": lambda bulk, folder: str(on_disk(bulk, folder)),
}


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_the_same_in_whatever_form(kind, bulk, tmp_path):
    expected = as_weights(bulk.copy(), GENES, verbose=False)
    given = KINDS[kind](bulk, tmp_path)
    weights = as_weights(given, GENES, verbose=False)
    assert weights.sha256 == expected.sha256
    np.testing.assert_array_equal(weights.tensors["log_mean"], expected.tensors["log_mean"])
    if isinstance(given, anndata.AnnData):
        assert given.shape == (30, 40)
        assert given.X.shape == (30, 40)  # also where the file was closed
        assert not given.uns


def test_what_is_no_bulk_is_refused_and_told_the_way(bulk):
    names = {"table": bulk.to_df(), "anndata": anndata}
    with pytest.raises(TypeError, match="not DataFrame: wrap") as caught:
        as_weights(names["table"], GENES)
    exec("bulk = " + re.search(r"anndata\.AnnData\(table\)", str(caught.value))[0], names)
    assert as_weights(names["bulk"], GENES, verbose=False).genes == GENES


def test_files_that_are_none_are_refused(tmp_path):
    path = tmp_path / "bulk.h5ad"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        as_weights(path, GENES)
    path.write_text("gene,sample")
    with pytest.raises(ValueError, match="can't be read as an AnnData"):
        as_weights(path, GENES)


def test_a_bad_bulk_leaves_cells_and_samples_as_they_were(bulk, trained):
    adata = toy()
    bulk.X[3] = 0
    before = set(BulkDAE._setup_adata_manager_store)
    with pytest.raises(ValueError, match="SAMPLE3"):
        impute(adata, bulk=bulk, verbose=False)
    assert not trained
    assert "scdtl" not in adata.layers
    assert not adata.uns
    assert not bulk.uns
    assert set(BulkDAE._setup_adata_manager_store) == before


# Genes


def test_cells_with_symbols_find_bulk_with_ensembl_ids(bulk):
    bulk.var["gene_name"] = GENES
    adata = toy()
    impute(adata, bulk=with_ensembl_ids(bulk), max_epochs=1, verbose=False)
    assert adata.var["scdtl_in_bulk"].all()


def test_ensembl_ids_alone_are_told_what_is_lacking(bulk, trained):
    adata = toy()
    with pytest.raises(ValueError, match=r"Hardly any genes .*GENE0, .*\(ENSG") as caught:
        impute(adata, bulk=with_ensembl_ids(bulk), max_epochs=1, verbose=False)
    assert not trained
    bulk.var["gene_name"] = GENES
    assert 'bulk.var["gene_name"]' in str(caught.value)
    SCDTL.setup_anndata(adata)
    assert SCDTL.from_bulk_model(bulk, adata).in_bulk_.all()
    del bulk.var["gene_name"]
    adata.var_names = [name.partition(".")[0] for name in bulk.var_names]
    SCDTL.setup_anndata(adata)
    assert SCDTL.from_bulk_model(bulk, adata).in_bulk_.all()


# Studies


def test_studies_and_units_are_kept_apart_where_named(bulk, trained):
    def codes(key):
        return np.ravel(trained[-1].adata_manager.get_from_registry(key))

    as_weights(bulk, GENES, verbose=False)
    assert list(codes("study")) == list(bulk.obs["study"].cat.codes)
    assert not codes("unit").any()
    bulk.obs = pd.DataFrame({"unit": ["TPM"] * 10 + ["counts"] * 20}, index=bulk.obs_names)
    bulk.obs["study"] = bulk.obs_names  # each its own: tells nothing
    as_weights(bulk, GENES, verbose=False)
    assert not codes("study").any()
    assert len(set(codes("unit")[:10]) | set(codes("unit")[10:])) == 2


# What is said


def texts_and_numbers(entry):
    """Whether anndata 0.11 can write all of it: it knows no None."""
    if isinstance(entry, dict):
        return all(map(texts_and_numbers, entry.values()))
    return isinstance(entry, str | bool | int | float | np.ndarray)


@pytest.mark.parametrize("kind", ["AnnData", "path", "BulkDAE"])
def test_results_tell_which_bulk_it_was(kind, bulk, toy_bulk_model, tmp_path):
    given = {"AnnData": bulk, "path": tmp_path / "mine.h5ad", "BulkDAE": toy_bulk_model}[kind]
    bulk.write_h5ad(tmp_path / "mine.h5ad")
    told = []
    for seed in (0, 1):
        adata = toy()
        impute(adata, bulk=given, max_epochs=1, random_state=seed, verbose=False)
        told.append(adata.uns["scdtl"]["weights"])
    assert texts_and_numbers(told[0])
    assert told[0]["name"] == ("mine.h5ad" if kind == "path" else "own bulk")
    assert re.fullmatch("[0-9a-f]{64}", told[0]["sha256"])
    assert told[0]["sha256"] == told[1]["sha256"]
    other = as_weights(toy_bulk(seed=1), GENES, verbose=False)
    assert told[0]["sha256"] != other.sha256


def test_a_bar_is_shown_if_wanted_and_nothing_otherwise(bulk, capfd):
    as_weights(bulk, GENES, verbose=False)
    assert capfd.readouterr() == ("", "")
    as_weights(bulk, GENES, verbose=True)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "Training" in shown.err
