"""What can't be written is named before the work."""

from __future__ import annotations

from operator import attrgetter

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scdtl._writable import make_writable
from scdtl.pp import impute

UNTRAINED = {"bulk": None, "verbose": False, "train_kwargs": {"not an argument": 1}}


def put(slot, key, value):
    """Function that puts a value into a slot of an AnnData."""

    def put_into(adata):
        getattr(adata, slot)[key] = value

    put_into.__name__ = f"{slot} {key}"
    return put_into


def put_raw_column(adata):
    adata.raw = adata.copy()
    adata.raw.var["_index"] = "other names"


def put_table(adata):
    table = pd.DataFrame({"x": pd.Timestamp(0), "y": 1}, index=adata.obs_names)
    adata.obsm["table"] = table


MIXED = ["a", 1, 2.5] * 20
# What anndata 0.12 can write neither to HDF5 nor to zarr; what names it.
FAULTS = [
    (put("obs", "_index", "other names"), "adata.obs", "_index"),
    (put("var", "_index", "other names"), "adata.var", "_index"),
    (put_raw_column, "adata.raw.var", "_index"),
    (put("obs", "day", pd.Timestamp(0)), "adata.obs", "key 'day'"),
    (put("uns", 3, 1), "adata.uns", "3 of (type )?<class"),
    (put("uns", "tree", {"leaf": {"odd": object()}}), "adata.uns", "key 'odd' of .*tree/leaf"),
    (put("uns", "graph", sparse.eye(60, format="coo")), "adata.uns", "key 'graph'"),
    (put_table, "adata.obsm", "key 'x' of .*table"),
]
ONLY_H5AD = [(put("obs", "mixed", MIXED), "adata.obs", "key 'mixed'")]
ONLY_ZARR = [
    (put("layers", "spliced/raw", np.ones((60, 40))), "adata.layers", "Forward slashes"),
]
CASES = (
    [(*fault, name) for fault in FAULTS for name in ("out.h5ad", "out.zarr")]
    + [(*fault, "out.h5ad") for fault in ONLY_H5AD]
    + [(*fault, "out.zarr") for fault in ONLY_ZARR]
)


@pytest.mark.parametrize(
    ("put_into", "slot", "named", "name"), CASES, ids=lambda x: getattr(x, "__name__", x)
)
def test_what_can_not_be_written_is_named_before_the_work(
    adata, tmp_path, put_into, slot, named, name
):
    put_into(adata)
    message = f"(?s){slot} can't be written.*{named}"
    if name == "out.zarr":
        with pytest.raises(ValueError, match=message):
            impute(adata, out=tmp_path / name, **UNTRAINED)
    else:
        with pytest.raises(ValueError, match=message):
            make_writable(adata, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("slot", ["obs", "var", "raw.var"])
def test_a_column_that_repeats_the_names_is_left_out(adata, tmp_path, slot):
    adata.raw = adata.copy()
    table = attrgetter(slot)(adata)
    table["_index"] = table.index
    impute(adata, out=tmp_path / "out.zarr", bulk=None, max_epochs=0, verbose=False)
    assert "_index" in attrgetter(slot)(adata)  # the user's own stays as it was
    stored = attrgetter(slot)(anndata.read_zarr(tmp_path / "out.zarr"))
    assert "_index" not in stored
    assert list(stored.index) == list(table.index)


def test_nullable_strings_are_written(adata, tmp_path):
    adata.obs_names = adata.obs_names.astype("string")
    adata.var_names = adata.var_names.astype("string")
    adata.obs["donor"] = pd.array(["a", None, "b"] * 20, dtype="string")
    impute(adata, out=tmp_path / "out.zarr", bulk=None, max_epochs=0, verbose=False)
    stored = anndata.read_zarr(tmp_path / "out.zarr")
    assert list(stored.obs_names) == list(adata.obs_names)
    assert list(stored.var_names) == list(adata.var_names)
    assert list(stored.obs["donor"].isna()) == [False, True, False] * 20


def test_the_rows_of_large_matrices_are_not_tried(tmp_path):
    n = 200_000
    adata = anndata.AnnData(sparse.csr_matrix((n, n), dtype=np.float32))
    adata.obsm["X_pca"] = np.broadcast_to(np.float32(1), (n, n))  # 160 GB if it were written
    make_writable(adata, tmp_path / "out.h5ad")


def test_a_store_is_not_called_h5ad(adata, tmp_path):
    with pytest.raises(ValueError, match=r"zarr store: name it out\.zarr"):
        impute(adata, out=tmp_path / "out.h5ad", **UNTRAINED)
