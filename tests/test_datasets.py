"""Tests of the data sets: those of this machine, and those fetched from a real server on it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy.sparse import csr_matrix, isspmatrix_csr

import scdtl.datasets as datasets
from scdtl.pretrained import _fetch, _registry, clear_cache


def test_pbmc68k_counts_are_integers_of_real_cells():
    adata = datasets.pbmc68k_counts()
    assert adata.shape == (700, 765)
    assert isspmatrix_csr(adata.X)
    assert adata.X.dtype == np.float32
    assert np.array_equal(adata.X.data, np.rint(adata.X.data))
    assert adata.X.data.min() == 1
    assert adata.obs["bulk_labels"].nunique() == 10
    assert adata.raw is None
    assert not adata.obsm
    assert not adata.uns


def test_pbmc68k_counts_agree_with_the_depth_scanpy_reports():
    scanpy = pytest.importorskip("scanpy")
    reduced = scanpy.datasets.pbmc68k_reduced()
    one_molecule = np.expm1(reduced.raw.X.max(axis=1).toarray().ravel())
    one_molecule /= datasets.pbmc68k_counts().X.max(axis=1).toarray().ravel()
    assert np.corrcoef(1 / one_molecule, reduced.obs["n_counts"])[0, 1] > 0.9


def test_counts_from_log_refuses_values_that_are_not_scaled_integers():
    with pytest.raises(ValueError, match="not scaled integers"):
        datasets._counts_from_log(csr_matrix(np.log1p([[1.0, 1.5], [1.0, 2.0]])))


def test_toy_counts_follow_the_known_rates():
    adata = datasets.toy(n_obs=400)
    counts, rates = adata.X.toarray(), adata.layers["rates"]
    assert adata.shape == (400, 40)
    assert abs((counts - rates).mean()) < 0.05
    assert np.mean((counts - rates) ** 2 / rates) == pytest.approx(1, abs=0.05)
    assert list(adata.var_names[:2]) == ["GENE0", "GENE1"]


@pytest.mark.parametrize("draw", [datasets.toy, datasets.toy_bulk])
def test_same_seed_same_toy(draw):
    first, second, other = draw(), draw(), draw(seed=1)
    assert (first.X != second.X).nnz == 0
    assert (first.X != other.X).nnz > 0


def test_toy_leaves_the_global_random_state_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    datasets.toy()
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_toy_has_the_batches_and_types_asked_for():
    adata = datasets.toy(n_obs=30, n_vars=10, n_types=2, n_batches=3)
    assert adata.obs["batch"].nunique() == 3
    assert adata.obs["cell_type"].nunique() == 2
    assert (adata.obs.groupby(["batch", "cell_type"], observed=True).size() > 0).all()


def test_toy_bulk_shares_the_gene_programmes():
    cells = np.log(datasets.toy(n_obs=600, n_types=12).layers["rates"])
    bulk = np.log(datasets.toy_bulk(n_samples=300).layers["rates"])
    pairs = np.triu_indices(40, k=1)
    correlations = [np.corrcoef(table.T)[pairs] for table in (cells, bulk)]
    assert np.corrcoef(*correlations)[0, 1] > 0.4


def test_toy_bulk_labels_studies_and_tissues():
    bulk = datasets.toy_bulk()
    assert bulk.shape == (30, 40)
    assert {"study", "tissue"} <= set(bulk.obs)
    assert np.array_equal(bulk.X.data, np.rint(bulk.X.data))


# Fetched: toy cells stand for them


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture(params=["mouse_spleen", "brain_reads"])
def released(request, tmp_path, monkeypatch):
    """Name and file of a data set that is nowhere to be found yet."""
    path = tmp_path / "released" / f"{request.param}.h5ad"
    path.parent.mkdir()
    datasets.toy().write_h5ad(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(_registry.DATA, request.param, sha256)
    monkeypatch.setenv("SCDTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("SCDTL_BASE_URL", raising=False)
    monkeypatch.delenv("SCDTL_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(_fetch, "RETRIES", 0)
    return request.param, path


@pytest.fixture
def _server(released, monkeypatch):
    handler = partial(Quiet, directory=released[1].parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("SCDTL_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("_server")
def test_data_are_downloaded_once(released):
    name, path = released
    fetch = getattr(datasets, name)
    assert (fetch().X != datasets.toy().X).nnz == 0
    path.unlink()
    assert (fetch().X != datasets.toy().X).nnz == 0


@pytest.mark.usefixtures("_server")
def test_data_with_another_hash_are_refused_and_not_kept(released, tmp_path):
    name, path = released
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=f"Cannot get the data set '{name}'.*hash"):
        getattr(datasets, name)()
    assert not list((tmp_path / "cache").rglob("*.h5ad"))


def test_without_data_the_error_says_what_to_do_and_that_works(released, monkeypatch):
    name, path = released
    with pytest.raises(FileNotFoundError, match=f"a folder or https address that holds {name}.h5"):
        getattr(datasets, name)()
    monkeypatch.setenv("SCDTL_BASE_URL", str(path.parent))
    assert getattr(datasets, name)().shape == (60, 40)


@pytest.mark.usefixtures("_server")
def test_clear_cache_deletes_data_too(released, tmp_path):
    getattr(datasets, released[0])()
    assert os.listdir(tmp_path / "cache")
    clear_cache()
    assert not os.listdir(tmp_path / "cache")


def test_the_script_makes_the_same_files_again_and_prints_their_hashes(tmp_path):
    script = Path(__file__).parents[1] / "tutorials" / "make_data.py"
    table = datasets.toy()
    table.obs["label"], table.obs["age"], table.obs["fetal"] = "T cell", "37 years", "adult"
    table.uns["source"] = "somewhere"
    table.write_h5ad(tmp_path / "table.h5ad")
    first, second = (
        subprocess.run(
            [sys.executable, script, *[tmp_path / "table.h5ad"] * 2, tmp_path / folder],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for folder in ("first", "second")
    )
    assert first == second
    for name in _registry.DATA:
        path = tmp_path / "first" / f"{name}.h5ad"
        assert f'"{name}": "{hashlib.sha256(path.read_bytes()).hexdigest()}"' in first
        made = anndata.read_h5ad(path)
        assert (made.X != table.X).nnz == 0
        assert made.obs["cell_type"].tolist() == ["T cell"] * 60
        assert made.uns["source"][1] == "somewhere"
        assert not made.layers
