"""Tests of what need not fit into memory: backed counts, zarr output, lazy layers, clusters."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap

import anndata
import numpy as np
import pytest
import scanpy as sc
import torch
from scipy import sparse

from scdtl import SCDTL
from scdtl.data import _counts, _gene_order
from scdtl.model import _inference
from scdtl.pp import _layers, impute

QUICK = {"bulk": None, "max_epochs": 1, "batch_size": 8, "verbose": False}
OPTIONS = [
    {},
    {"return_std": True, "scale": "counts", "library_size": np.arange(60.0)},
    {"false_zero_rate": 0.05, "return_std": True},
    {"genes": ["GENE7", "GENE1"]},
    {"genes": ["GENE7", "GENE1"], "false_zero_rate": 0.05, "replace": "zeros"},
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks also of few cells: 16 each."""
    monkeypatch.setattr(_layers, "_ENTRIES_PER_BLOCK", 16 * 40)


@pytest.fixture
def adata(adata):
    """The toy of two batches with its counts alone."""
    del adata.layers["rates"]
    return adata


@pytest.fixture
def h5ad(adata, tmp_path):
    """The toy of two batches in a file."""
    path = tmp_path / "toy.h5ad"
    adata.write_h5ad(path)
    return path


def dense(layer):
    layer = layer.compute() if hasattr(layer, "compute") else layer
    return layer.toarray() if sparse.issparse(layer) else layer


def assert_same_results(one, other):
    layers = [name for name in one.layers if str(name).startswith("scdtl")]
    assert layers
    assert [name for name in other.layers if str(name).startswith("scdtl")] == layers
    for name in layers:
        assert sparse.issparse(one.layers[name]) == sparse.issparse(
            other.layers[name][:1].compute()
        )
        np.testing.assert_array_equal(dense(other.layers[name]), dense(one.layers[name]))
    np.testing.assert_array_equal(other.obsm["X_scdtl"], one.obsm["X_scdtl"])
    for column in ("scdtl_in_bulk", "scdtl_trust", "scdtl_trusted"):
        np.testing.assert_array_equal(other.var[column], one.var[column])
    np.testing.assert_equal(other.uns["scdtl"], one.uns["scdtl"])


# The same numbers wherever they end up


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("place", ["lazy", "zarr"])
def test_lazy_and_written_layers_hold_the_numbers_of_those_in_memory(
    adata, options, place, tmp_path
):
    expected = impute(adata, batch_key="batch", copy=True, **QUICK, **options)
    where = {"lazy": True} if place == "lazy" else {"out": tmp_path / "out.zarr"}
    impute(adata, batch_key="batch", **QUICK, **options, **where)
    assert_same_results(expected, adata)


@pytest.mark.parametrize("options", OPTIONS[:3])
def test_a_backed_file_gives_the_numbers_of_memory_and_stays_as_it_was(
    adata, h5ad, options, tmp_path
):
    before = h5ad.read_bytes()
    expected = impute(adata, batch_key="batch", copy=True, **QUICK, **options)
    backed = sc.read_h5ad(h5ad, backed="r")
    impute(backed, batch_key="batch", out=tmp_path / "out.zarr", **QUICK, **options)
    assert_same_results(expected, backed)
    backed.file.close()
    assert h5ad.read_bytes() == before


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
@pytest.mark.parametrize("form", ["dense", "csr"])
def test_dask_arrays_give_the_numbers_of_memory(adata, form, tmp_path):
    expected = impute(adata, batch_key="batch", copy=True, **QUICK)
    if form == "dense":
        adata.X = adata.X.toarray()
    adata.write_zarr(tmp_path / "in.zarr")
    lazy = anndata.experimental.read_lazy(tmp_path / "in.zarr")
    impute(lazy, batch_key="batch", out=tmp_path / "out.zarr", **QUICK)
    assert_same_results(expected, lazy)


def test_the_store_is_a_copy_of_the_input_with_the_results(adata, h5ad, tmp_path):
    adata.obsm["X_pca"] = np.ones((60, 2))
    adata.layers["other"] = adata.X.copy()
    adata.uns["note"] = {"a": 1}
    adata.obsp["graph"] = sparse.eye(60, format="csr")
    adata.raw = adata.copy()
    impute(adata, out=tmp_path / "out.zarr", return_std=True, **QUICK)
    stored = anndata.read_zarr(tmp_path / "out.zarr")
    np.testing.assert_array_equal(stored.X.toarray(), adata.X.toarray())
    np.testing.assert_array_equal(stored.raw.X.toarray(), adata.raw.X.toarray())
    assert set(stored.layers) - {None} == {"other", "scdtl", "scdtl_std"}
    assert set(stored.obsm) == {"X_pca", "X_scdtl"}
    assert set(stored.uns) == {"note", "scdtl"}
    assert "graph" in stored.obsp
    np.testing.assert_array_equal(stored.layers["scdtl"], adata.layers["scdtl"].compute())
    assert list(tmp_path.iterdir()) == [tmp_path / "out.zarr", h5ad]  # nothing else is left


@pytest.fixture(scope="module")
def whole(pbmc_counts):
    """Real counts imputed in memory without training; not to be changed."""
    return impute(pbmc_counts, max_epochs=0, copy=True, verbose=False)


def test_scanpy_goes_on_with_the_store(pbmc_counts, whole, tmp_path):
    adata = pbmc_counts.copy()
    impute(adata, max_epochs=0, out=tmp_path / "out.zarr", verbose=False)
    stored = anndata.read_zarr(tmp_path / "out.zarr")
    sc.pp.pca(stored, layer="scdtl", n_comps=5)
    whole = whole.copy()
    sc.pp.pca(whole, layer="scdtl", n_comps=5)
    np.testing.assert_allclose(stored.obsm["X_pca"], whole.obsm["X_pca"], atol=1e-3)


@pytest.mark.parametrize("backed", [True, False])
def test_scanpy_goes_on_with_the_layer_on_disk(pbmc_counts, whole, tmp_path, backed):
    """As docs/scale.md says."""
    pbmc_counts.write_h5ad(tmp_path / "in.h5ad")
    atlas = sc.read_h5ad(tmp_path / "in.h5ad", backed="r" if backed else None)
    impute(atlas, max_epochs=0, out=tmp_path / "out.zarr", verbose=False)
    sc.pp.highly_variable_genes(atlas, layer="scdtl", n_top_genes=200)
    small = atlas[:, atlas.var["highly_variable"]].to_memory()
    sc.pp.pca(small, layer="scdtl", n_comps=5)
    atlas.obsm["X_pca"] = small.obsm["X_pca"]

    whole = whole.copy()
    sc.pp.highly_variable_genes(whole, layer="scdtl", n_top_genes=200)
    sc.pp.pca(whole, layer="scdtl", n_comps=5)
    np.testing.assert_allclose(atlas.obsm["X_pca"], whole.obsm["X_pca"], atol=1e-3)
    sc.pp.neighbors(atlas, use_rep="X_scdtl")
    assert atlas.obsp["connectivities"].shape == (700, 700)
    atlas.layers["scdtl"] = atlas.layers["scdtl"].compute()
    np.testing.assert_array_equal(atlas.layers["scdtl"], whole.layers["scdtl"])


def test_an_own_earlier_result_is_replaced_in_the_store(adata, tmp_path):
    impute(adata, return_std=True, **QUICK)
    impute(adata, out=tmp_path / "out.zarr", **QUICK)
    assert set(anndata.read_zarr(tmp_path / "out.zarr").layers) - {None} == {"scdtl"}


def test_a_lazy_layer_outlives_further_training(adata):
    model = impute(adata, lazy=True, return_model=True, **QUICK)
    before = adata.layers["scdtl"].compute()
    model.train(max_epochs=2, enable_progress_bar=False)
    np.testing.assert_array_equal(adata.layers["scdtl"].compute(), before)


def test_a_lazy_layer_of_a_file_takes_the_network_and_no_values(adata, tmp_path, monkeypatch):
    monkeypatch.setattr(_layers, "_ENTRIES_PER_BLOCK", 1 << 22)
    path = tmp_path / "large.h5ad"
    anndata.concat([adata] * 1_000, index_unique="-").write_h5ad(path)
    backed = sc.read_h5ad(path, backed="r")
    impute(backed, lazy=True, bulk=None, max_epochs=0, verbose=False, batch_size=4096)
    layer = backed.layers["scdtl"]
    assert len(pickle.dumps(layer)) < layer.nbytes / 4


# A sample to train on


def test_more_cells_than_training_takes_are_sampled_from_every_batch(adata, tmp_path):
    path = tmp_path / "large.h5ad"
    large = anndata.concat([adata] * 5, index_unique="-")
    large.obs["batch"] = np.where(np.arange(300) // 3 == 41, "rare", "common")
    large.write_h5ad(path)
    backed = sc.read_h5ad(path, backed="r")
    impute(
        backed,
        batch_key="batch",
        lazy=True,
        train_kwargs={"max_training_cells": 50},
        **QUICK,
    )
    imputed = backed.layers["scdtl"].compute()
    assert np.isfinite(imputed).all()
    assert (imputed[123:126].sum(1) > 0).all()


@pytest.fixture
def many(adata):
    """300 cells of three batches, one of them rare; in file order and in another."""
    cells = anndata.concat([adata] * 5, index_unique="-", merge="same")
    generator = np.random.default_rng(0)
    cells.X = sparse.csr_matrix(generator.poisson(cells.X.toarray() + 0.5), dtype=np.float32)
    cells.obs["batch"] = np.array(["a", "b", "rare"])[np.r_[0, 0, 0, 1, 1][np.arange(300) % 5]]
    cells.obs.loc[cells.obs_names[[7, 123, 250]], "batch"] = "rare"
    cells.X[:, 3] = 0
    cells.X[200, 3] = 2  # a gene of a single cell, that training need not see
    cells.X.eliminate_zeros()
    return cells


@pytest.mark.filterwarnings("ignore:Changing the sparsity structure")
def test_a_model_of_a_sample_knows_the_sums_of_all_cells_after_it_was_saved(
    many, tmp_path, monkeypatch
):
    monkeypatch.setattr(_gene_order, "MAX_CELLS", 40)
    monkeypatch.setattr(_counts, "_CELLS_TO_SORT_OUT", 70)
    many.write_h5ad(tmp_path / "many.h5ad")
    backed = sc.read_h5ad(tmp_path / "many.h5ad", backed="r")
    options = QUICK | {"train_kwargs": {"max_training_cells": 60}}
    model = impute(backed, lazy=True, return_model=True, **options)
    assert model.adata.n_obs < 300
    model.save(tmp_path / "model", save_anndata=True)
    loaded = SCDTL.load(tmp_path / "model")
    loaded.train(max_epochs=0, enable_progress_bar=False)
    np.testing.assert_array_equal(loaded.module.log_mean.cpu(), model.module.log_mean.cpu())
    of_sample = SCDTL.load(tmp_path / "model", anndata.AnnData(many[:50].X, var=many.var[[]]))
    of_sample.train(max_epochs=0, enable_progress_bar=False)
    assert not torch.equal(of_sample.module.log_mean.cpu(), model.module.log_mean.cpu())


@pytest.fixture(scope="module")
def in_memory():
    """The results with bulk and without, once they are known."""
    return {}


@pytest.mark.parametrize("bulk", [True, False], ids=["bulk", "no bulk"])
@pytest.mark.parametrize("place", ["file", "dask", "permuted", "permuted file"])
@pytest.mark.filterwarnings("ignore:Changing the sparsity structure")
@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
def test_a_sample_to_train_on_is_the_same_wherever_cells_are(
    many, in_memory, place, bulk, toy_weights_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(_layers, "_ENTRIES_PER_BLOCK", 48 * 40)
    monkeypatch.setattr(_counts, "_CELLS_TO_SORT_OUT", 70)
    monkeypatch.setattr(_counts, "_CELLS_PER_BLOCK", 20)
    for module in (
        _gene_order,
        _inference,
    ):  # what orders genes, and what silences them, are samples too
        monkeypatch.setattr(module, "MAX_CELLS", 40)
    options = QUICK | {
        "bulk": toy_weights_file if bulk else None,
        "batch_key": "batch",
        "train_kwargs": {"max_training_cells": 60},
        "false_zero_rate": 0.05,
        "return_std": True,
    }
    if bulk not in in_memory:
        in_memory[bulk] = impute(many, copy=True, **options)
    expected = in_memory[bulk]
    order = np.arange(300)
    if place.startswith("permuted"):
        order = np.random.default_rng(1).permutation(300)
        many = many[order].copy()
    if place == "dask":
        many.write_zarr(tmp_path / "many.zarr")
        many = anndata.experimental.read_lazy(tmp_path / "many.zarr")
    elif place.endswith("file"):
        many.write_h5ad(tmp_path / "many.h5ad")
        many = sc.read_h5ad(tmp_path / "many.h5ad", backed="r")
    impute(many, **options, **({} if place == "permuted" else {"out": tmp_path / "out.zarr"}))
    for name in ("scdtl", "scdtl_std"):
        values = dense(many.layers[name])
        np.testing.assert_allclose(values, dense(expected.layers[name])[order], atol=1e-6)
        if place in ("file", "dask"):
            np.testing.assert_array_equal(values, dense(expected.layers[name]))
    for column in ("scdtl_trust", "scdtl_trusted"):
        np.testing.assert_array_equal(many.var[column], expected.var[column])
    assert dense(many.layers["scdtl_std"])[:, 3].any()  # nor is a rare gene lost


def test_bad_counts_anywhere_in_a_file_are_refused_before_training(adata, tmp_path):
    adata.X = adata.X.astype(np.float32)
    adata.X.data[-1] = 0.5  # in the last block
    adata.write_h5ad(tmp_path / "bad.h5ad")
    backed = sc.read_h5ad(tmp_path / "bad.h5ad", backed="r")
    with pytest.raises(ValueError, match="fractions of molecules"):
        impute(backed, out=tmp_path / "out.zarr", **QUICK)
    assert "scdtl" not in backed.layers
    assert [path.name for path in tmp_path.iterdir()] == ["bad.h5ad"]


# What is refused, before any work


def test_counts_on_disk_need_a_place_for_the_results(h5ad):
    backed = sc.read_h5ad(h5ad, backed="r")
    with pytest.raises(ValueError, match=r"out='imputed\.zarr'"):
        impute(backed, **QUICK)
    with pytest.raises(ValueError, match="copy=True"):
        impute(backed, lazy=True, copy=True, **QUICK)


def test_counts_stored_by_genes_are_refused(adata, tmp_path):
    adata.X = adata.X.tocsc()
    adata.write_h5ad(tmp_path / "csc.h5ad")
    backed = sc.read_h5ad(tmp_path / "csc.h5ad", backed="r")
    with pytest.raises(ValueError, match="by genes"):
        impute(backed, lazy=True, **QUICK)


def test_out_and_lazy_exclude_each_other(adata, tmp_path):
    with pytest.raises(ValueError, match="choose one"):
        impute(adata, out=tmp_path / "out.zarr", lazy=True, **QUICK)


def test_a_layer_larger_than_memory_is_refused_with_advice():
    n_cells, n_genes = 400_000, 2_000_000  # nothing is stored of them
    empty = sparse.csr_matrix((n_cells, n_genes), dtype=np.float32)
    adata = anndata.AnnData(empty)
    with pytest.raises(MemoryError, match=r"out='imputed.zarr'.*lazy=True.*genes="):
        impute(adata, bulk=None)


@pytest.mark.parametrize(
    ("prepare", "error", "message"),
    [
        (lambda out: out.mkdir(), ValueError, "exists: delete it"),
        (lambda out: out.parent.rmdir(), FileNotFoundError, "does not exist"),
        (
            lambda out: (out.parent / "out.zarr.partial" / "photos").mkdir(parents=True),
            ValueError,
            "was not written by scdtl",
        ),
    ],
)
def test_a_path_that_is_taken_is_refused(adata, tmp_path, prepare, error, message):
    out = tmp_path / "folder" / "out.zarr"
    out.parent.mkdir()
    prepare(out)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=message):
        impute(adata, out=out, **QUICK)
    assert sorted(tmp_path.rglob("*")) == before
    assert "scdtl" not in adata.layers


def test_what_can_not_be_written_shows_before_training(adata, tmp_path):
    adata.uns["odd"] = object()
    with pytest.raises(Exception, match="odd"):
        impute(adata, out=tmp_path / "out.zarr", **QUICK)
    assert not list(tmp_path.iterdir())


# Interruptions

SCRIPT = """
import signal, sys, time
import scanpy as sc
import torch
from scdtl.pp import _layers, _store, impute

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background ignores
torch.set_num_threads(1)  # as here: the last digit depends on it
_layers._ENTRIES_PER_BLOCK = 8 * 40
record = _store.Store._record

def slow(self, n_done):
    record(self, n_done)
    print(n_done, flush=True)
    time.sleep(100 if n_done == 3 else 0)  # until the signal comes

_store.Store._record = slow
options = {options}
impute(sc.read_h5ad({path!r}, backed="r"), out={out!r}, bulk=None, max_epochs=1, batch_size=8,
       verbose=False, **options)
"""


def interrupted(path, out, options, how):
    """A real process that imputes, until it has written three blocks of eight."""
    script = textwrap.dedent(SCRIPT).format(path=str(path), out=str(out), options=options)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.strip() == "3":
            process.send_signal(how)
            break
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize(
    ("how", "options"),
    [("SIGKILL", {"return_std": True}), ("SIGINT", {"false_zero_rate": 0.05})],
)
def test_a_killed_run_goes_on_where_it_ended(adata, h5ad, tmp_path, options, how, monkeypatch):
    monkeypatch.setattr(_layers, "_ENTRIES_PER_BLOCK", 8 * 40)
    out = tmp_path / "out.zarr"
    before = h5ad.read_bytes()
    status, errors = interrupted(h5ad, out, options, getattr(signal, how))
    assert status != 0
    if how == "SIGINT":
        assert "keeps 3 of 8 blocks" in errors
    assert not out.exists()  # nothing half is taken for whole
    assert h5ad.read_bytes() == before

    trained = (tmp_path / "out.zarr.partial" / "model").stat().st_mtime
    backed = sc.read_h5ad(h5ad, backed="r")
    with pytest.raises(ValueError, match="another call, which differs in: argument scale"):
        impute(backed, out=out, scale="counts", **QUICK, **options)
    seen = []
    impute_block = _layers._layers_of_block
    monkeypatch.setattr(
        _layers,
        "_layers_of_block",
        lambda *args, **kwargs: seen.append(1) or impute_block(*args, **kwargs),
    )
    assert (tmp_path / "out.zarr.partial" / "model").stat().st_mtime == trained
    impute(backed, out=out, **QUICK, **options)
    assert len(seen) == 5
    assert_same_results(impute(adata, copy=True, **QUICK, **options), backed)
    assert not (tmp_path / "out.zarr.partial").exists()


def test_an_error_in_training_leaves_no_file(adata, tmp_path):
    with pytest.raises(TypeError):
        impute(adata, out=tmp_path / "out.zarr", train_kwargs={"nonsense": 1}, **QUICK)
    assert not list(tmp_path.iterdir())
    assert "scdtl" not in adata.layers


# A cluster


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of two more processes
def test_the_workers_of_a_cluster_impute_and_write(adata, h5ad, tmp_path):
    from distributed import Client, LocalCluster, get_task_stream

    options = {"false_zero_rate": 0.05, "return_std": True}  # a sparse and a dense layer
    expected = impute(adata, copy=True, **QUICK, **options)
    backed = sc.read_h5ad(h5ad, backed="r")
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster),
        get_task_stream() as tasks,
    ):
        impute(backed, out=tmp_path / "out.zarr", **QUICK, **options)
    workers = [task["worker"] for task in tasks.data if "_write_block" in str(task["key"])]
    assert len(workers) == 4  # blocks
    assert len(set(workers)) == 2
    for name in ("scdtl", "scdtl_std"):
        values, others = dense(backed.layers[name]), dense(expected.layers[name])
        np.testing.assert_allclose(values, others, rtol=1e-5)
