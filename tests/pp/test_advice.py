"""What the errors of impute advise is done, word for word, and then it works."""

from __future__ import annotations

import anndata
import numpy as np
import pytest

from scdtl.datasets import toy
from scdtl.pp import impute


def masked(_):
    adata = toy()
    adata.layers["counts"] = np.ma.masked_equal(adata.X.toarray(), 1)
    adata.X = adata.layers.pop("counts")
    return adata


def of_objects(_):
    adata = toy()
    adata.X = adata.X.toarray().astype(object)
    return adata


def repeated_names(_):
    adata = toy()
    adata.var_names = ["GENE0", *adata.var_names[:-1]]
    return adata


def backed(tmp_path):
    toy().write_h5ad(tmp_path / "in.h5ad")
    return anndata.read_h5ad(tmp_path / "in.h5ad", backed="r")


def lanes_missing(_):
    adata = toy()
    adata.obs["lane"] = ["a"] * 30 + ["b"] * 20 + [np.nan] * 10
    return adata


def plain(_):
    return toy()


# The AnnData, arguments that fail, what the message says, and what is done then: a statement, or
# other arguments; None for the statement in the message.
ADVICE = {
    "masked": (masked, {}, "adata.X = adata.X.filled(0)", None),
    "objects": (of_objects, {}, '.astype("float32")', "adata.X = adata.X.astype('float32')"),
    "repeated names": (
        repeated_names,
        {},
        "adata.var_names_make_unique()",
        None,
    ),
    "counts in a file": (backed, {}, "adata = adata.to_memory()", None),
    "counts in a file, lazily": (backed, {}, "lazy=True", {"lazy": True}),
    "a file can't be copied": (
        backed,
        {"copy": True, "lazy": True},
        "leave it out",
        {"copy": False},
    ),
    "a batch is missing": (
        lanes_missing,
        {"batch_key": "lane"},
        "drop those cells",
        "adata = adata[adata.obs['lane'].notna()].copy()",
    ),
    "one gene": (plain, {"genes": "GENE1"}, "genes=['GENE1']", {"genes": ["GENE1"]}),
    "no gene": (plain, {"genes": []}, "leave it out for all", {"genes": None}),
    "a gene twice": (
        plain,
        {"genes": ["GENE1", "GENE1"]},
        "give each one once",
        {"genes": ["GENE1"]},
    ),
    "its own layer": (
        lambda _: anndata.AnnData(layers={"a": toy().X}, var=toy().var, obs=toy().obs),
        {"layer": "a", "key_added": "a"},
        "choose another key_added",
        {"key_added": "b"},
    ),
    "two places": (plain, {"out": "a.zarr", "lazy": True}, "choose one of them", {"out": None}),
    "a size for a scale without": (
        plain,
        {"library_size": 1000},
        "use scale='counts'",
        {"scale": "counts"},
    ),
    "observed values of another size": (
        plain,
        {"library_size": 1000, "scale": "counts", "replace": "zeros"},
        "leave library_size at None",
        {"library_size": None},
    ),
    "the spread of a mean of logarithms": (
        plain,
        {"return_std": True, "scale": "expected_log1p"},
        "on the other scales",
        {"scale": "log1p"},
    ),
    "several devices": (plain, {"devices": 2}, "Leave devices", {"devices": "auto"}),
}


@pytest.mark.parametrize(("make", "options", "said", "done"), ADVICE.values(), ids=ADVICE)
def test_the_advice_of_an_error_works(make, options, said, done, tmp_path, monkeypatch):
    if "lazy" in options or isinstance(done, dict) and "lazy" in done:
        pytest.importorskip("dask")
    monkeypatch.chdir(tmp_path)
    adata = make(tmp_path)
    fixed = {"bulk": None, "max_epochs": 1, "verbose": False}
    with pytest.raises((ValueError, TypeError)) as error:
        impute(adata, **fixed, **options)
    assert said in str(error.value)
    names = {"adata": adata}
    if not isinstance(done, dict):
        exec(done or said, names)
    adata = names["adata"]
    impute(adata, **(fixed | options | (done if isinstance(done, dict) else {})))
    key = done["key_added"] if isinstance(done, dict) and "key_added" in done else "scdtl"
    assert adata.layers[key].shape == adata.shape
