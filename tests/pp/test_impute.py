"""Tests of impute's contract: what it writes, what it leaves alone, what it refuses."""

from __future__ import annotations

import functools
import gc
import os
import pickle
import random
import weakref
from collections.abc import Mapping

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from scdtl import SCDTL, BulkDAE
from scdtl.datasets import toy, toy_bulk
from scdtl.model._predict import Predictor
from scdtl.pp import impute

QUICK = {"bulk": None, "max_epochs": 2}
SLOTS = ("obs", "var", "uns", "obsm", "varm", "obsp", "varp", "layers")


def content(value):
    """Kind, dtype and bytes of what an AnnData holds, down to the last stored zero."""
    if sparse.issparse(value):
        parts = (value.data, value.indices, value.indptr)
        return type(value), value.shape, *(content(part) for part in parts)
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.flags.f_contiguous, value.tobytes()
    if isinstance(value, pd.DataFrame):
        hashes = pd.util.hash_pandas_object(value).to_numpy().tobytes()
        return tuple(value.columns), tuple(value.dtypes), hashes
    if isinstance(value, Mapping):
        return {key: content(entry) for key, entry in value.items()}
    return repr(value)


def snapshot(adata):
    found = {slot: content(getattr(adata, slot)) for slot in SLOTS} | {"X": content(adata.X)}
    if adata.raw is not None:
        found["raw"] = content(adata.raw.X), content(adata.raw.var), content(adata.raw.varm)
    return found


@pytest.fixture
def full():
    """A toy with something in every slot, and counts as float64 with a stored zero."""
    adata = toy(n_batches=2)
    adata.X = sparse.csr_matrix(adata.X, dtype=np.float64)
    adata.X.data[5] = 0
    adata.raw = adata.copy()
    adata.layers["fortran"] = np.asfortranarray(adata.X.toarray())
    adata.obsm["X_pca"] = np.ones((60, 2))
    adata.varm["PCs"] = np.ones((40, 2))
    adata.obsp["distances"] = sparse.eye(60, format="csr")
    adata.varp["links"] = sparse.eye(40, format="csc")
    adata.uns["neighbors"] = {"params": {"n_neighbors": 15}}
    return adata


def only_new(after, before, written):
    """The snapshot without what was written, each of which must be there."""
    rest = {slot: after[slot] for slot in after if slot not in written}
    for slot, names in written.items():
        rest[slot] = {name: entry for name, entry in after[slot].items() if name not in names}
        assert set(after[slot]) - set(before[slot]) == set(names)
    return rest


# What is written


@pytest.mark.parametrize("return_std", [False, True])
def test_impute_writes_the_promised_fields_and_nothing_else(full, return_std):
    before, var = snapshot(full), full.var.copy()
    impute(full, **QUICK, batch_key="batch", return_std=return_std)
    assert list(full.var) == [*var, "scdtl_in_bulk", "scdtl_trust", "scdtl_trusted"]
    after = snapshot(full) | {"var": content(full.var[var.columns])}
    layers = ["scdtl", "scdtl_std"] if return_std else ["scdtl"]
    written = {"layers": layers, "obsm": ["X_scdtl"], "uns": ["scdtl"]}
    assert only_new(after, before, written) == before


def test_results_have_the_promised_shapes_and_types(adata):
    impute(adata, **QUICK, return_std=True)
    for name in ("scdtl", "scdtl_std"):
        assert type(adata.layers[name]) is np.ndarray
        assert adata.layers[name].shape == (60, 40)
        assert adata.layers[name].dtype == np.float32
    assert adata.obsm["X_scdtl"].shape == (60, 32)
    assert adata.obsm["X_scdtl"].dtype == np.float32
    assert adata.var["scdtl_in_bulk"].dtype == bool
    assert not adata.var["scdtl_in_bulk"].any()
    assert adata.var["scdtl_trust"].dtype == np.float32
    assert adata.var["scdtl_trust"].notna().any()
    assert (adata.var["scdtl_trust"].dropna() <= 1).all()


def test_uns_says_how_the_result_came_about(adata, toy_weights_file):
    impute(adata, bulk=toy_weights_file, max_epochs=2, random_state=3, key_added="smooth")
    entry = adata.uns["smooth"]
    assert entry["params"]["random_state"] == 3
    assert entry["params"]["key_added"] == "smooth"
    assert entry["weights"]["name"] == "toy"
    assert len(entry["weights"]["sha256"]) == 64
    assert entry["weights"]["n_genes_matched"] == 40
    assert entry["weights"]["matched_by"]["symbol"] == 40
    assert {"scdtl", "torch", "scvi-tools", "numpy"} <= set(entry["versions"])
    assert len(entry["history"]["train_loss"]) == 2
    assert entry["held_out_deviance_explained"] < 1
    assert adata.var["smooth_in_bulk"].all()


def plain(value):
    """The value as a file gives it back."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    return repr(np.asarray(value).tolist())  # so that NaN is NaN


def test_results_survive_h5ad_and_may_be_overwritten_afterwards(adata, tmp_path):
    impute(
        adata,
        **QUICK,
        genes=["GENE3", "GENE1"],
        library_size=np.full(60, 100.0),
        scale="counts",
        train_kwargs={"plan_kwargs": {"lr": 1e-3}, "early_stopping": False},
        model_kwargs={"n_latent": 5},
    )
    adata.write_h5ad(tmp_path / "imputed.h5ad")
    again = anndata.read_h5ad(tmp_path / "imputed.h5ad")
    assert plain(again.uns["scdtl"]) == plain(adata.uns["scdtl"])
    assert np.array_equal(again.layers["scdtl"].toarray(), adata.layers["scdtl"].toarray())
    impute(again, **QUICK)
    assert again.layers["scdtl"].shape == (60, 40)


def test_arguments_that_no_file_can_keep_do_not_prevent_writing(adata, tmp_path):
    from lightning.pytorch.callbacks import Callback

    impute(adata, **QUICK, train_kwargs={"callbacks": [Callback()]})
    adata.write_h5ad(tmp_path / "imputed.h5ad")


def test_copy_leaves_adata_alone_and_gives_the_same(full):
    before = snapshot(full)
    result = impute(full, **QUICK, copy=True)
    assert snapshot(full) == before
    assert impute(full, **QUICK) is None
    assert np.array_equal(result.layers["scdtl"], full.layers["scdtl"])
    assert set(result.uns) == set(full.uns)
    assert not np.shares_memory(result.X.data, full.X.data)


def test_return_model_gives_the_model_that_imputed(adata):
    model = impute(adata, **QUICK, return_model=True)
    assert isinstance(model, SCDTL)
    assert np.array_equal(model.get_imputed_expression(return_numpy=True), adata.layers["scdtl"])
    result, model = impute(adata, **QUICK, copy=True, return_model=True)
    assert isinstance(result, anndata.AnnData)
    assert isinstance(model, SCDTL)


def test_no_file_is_left_behind(adata, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    impute(adata, **QUICK)
    assert not os.listdir(tmp_path)


# Overwriting


def test_an_own_earlier_result_is_replaced(adata):
    impute(adata, **QUICK, scale="counts")
    first = adata.layers["scdtl"]
    impute(adata, **QUICK)
    fresh = impute(toy(n_batches=2), **QUICK, copy=True)
    assert np.array_equal(adata.layers["scdtl"], fresh.layers["scdtl"])
    assert not np.array_equal(adata.layers["scdtl"], first)


def test_no_part_of_an_earlier_result_is_left_beside_the_new(adata):
    impute(adata, **QUICK, return_std=True)
    impute(adata, **QUICK, random_state=1)
    assert "scdtl_std" not in adata.layers


def test_the_layer_of_someone_else_is_refused(adata):
    adata.layers["scdtl"] = adata.X.copy()
    before = snapshot(adata)
    with pytest.raises(ValueError, match="key_added"):
        impute(adata, **QUICK)
    assert snapshot(adata) == before
    impute(adata, **QUICK, key_added="other")
    assert "other" in adata.layers


# Errors


def as_log(adata):
    adata.X = np.log1p(adata.X.toarray())


def with_value(value):
    def change(adata):
        adata.X = adata.X.toarray()
        adata.X[3, 4] = value

    return change


def repeated_names(adata):
    adata.var_names = ["GENE0", *adata.var_names[:-1]]


def nothing(adata):
    pass


ERRORS = {
    "log-normalised": (as_log, {}, "log-normalised"),
    "negative": (with_value(-1), {}, "negative"),
    "NaN": (with_value(np.nan), {}, "NaN"),
    "infinite": (with_value(np.inf), {}, "infinite"),
    "fractional": (with_value(1000.5), {}, "fractions of molecules"),
    "repeated names": (repeated_names, {}, "not unique"),
    "missing layer": (nothing, {"layer": "spliced"}, "'spliced'"),
    "missing batch": (nothing, {"batch_key": "donor"}, "'donor'"),
    "taken key": (nothing, {"key_added": "rates"}, "key_added"),
    "unknown gene": (nothing, {"genes": ["TP53"]}, "TP53"),
    "unknown scale": (nothing, {"scale": "sqrt"}, "sqrt"),
    "other genes than bulk": (nothing, {"bulk": "human"}, "Only 0 of 40"),
    "unknown weights": (nothing, {"bulk": "martian"}, "martian"),
    "model argument": (nothing, {"model_kwargs": {"n_layers": 3}}, "n_layers"),
    "training argument": (nothing, {"train_kwargs": {"n_steps": 3}}, "n_steps"),
    "std of a mean": (nothing, {"scale": "expected_log1p", "return_std": True}, "deviation"),
    "observed at other depth": (nothing, {"replace": "zeros", "library_size": 1e4}, "zeros"),
    "sizes of other cells": (
        nothing,
        {"scale": "counts", "library_size": [1.0, 2.0]},
        "broadcast|library_size",
    ),
}


@pytest.mark.parametrize(("change", "options", "message"), ERRORS.values(), ids=ERRORS)
def test_an_error_leaves_adata_exactly_as_it_was(full, change, options, message):
    change(full)
    before = snapshot(full)
    with pytest.raises((ValueError, TypeError, KeyError, FileNotFoundError), match=message):
        impute(full, **(QUICK | options))
    assert snapshot(full) == before


@pytest.mark.parametrize(
    "name", ["std of a mean", "observed at other depth", "sizes of other cells"]
)
def test_options_that_contradict_are_refused_before_any_work(adata, name, monkeypatch):
    monkeypatch.setattr(SCDTL, "train", lambda *args, **kwargs: pytest.fail("trained first"))
    _, options, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        impute(adata, **(QUICK | options))


def test_an_error_in_training_leaves_adata_exactly_as_it_was(full, monkeypatch):
    def fail(self, *args, **kwargs):
        raise RuntimeError("out of memory")

    before = snapshot(full)
    monkeypatch.setattr(Predictor, "latent", fail)  # what is computed last
    with pytest.raises(RuntimeError, match="out of memory"):
        impute(full, **QUICK)
    assert snapshot(full) == before


def test_names_unlike_those_of_the_weights_are_named(adata):
    with pytest.raises(ValueError, match=r"human symbols.*GENE0.*var_names.*bulk=None"):
        impute(adata)


# Same input, same numbers


@pytest.fixture(scope="module")
def from_csr():
    return impute(toy(n_batches=2), **QUICK, copy=True)


def unsorted_csr(dense):
    matrix = sparse.csr_matrix(dense)
    for row in range(len(dense)):
        part = slice(*matrix.indptr[row : row + 2])
        for values in (matrix.indices, matrix.data):
            values[part] = values[part][::-1].copy()
    matrix.has_sorted_indices = False
    return matrix


FORMATS = {
    "csc": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "unsorted csr": unsorted_csr,
    "csr of integers": lambda dense: sparse.csr_matrix(dense, dtype=np.int64),
    "dense": np.array,
    "dense float64": lambda dense: dense.astype(np.float64),
    "dense integers": lambda dense: dense.astype(np.int32),
    "dense Fortran": np.asfortranarray,
}


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_every_format_gives_the_numbers_of_csr(adata, from_csr, form):
    adata.X = form(adata.X.toarray())
    before = content(adata.X)
    impute(adata, **QUICK)
    assert np.array_equal(adata.layers["scdtl"], from_csr.layers["scdtl"])
    assert np.array_equal(adata.obsm["X_scdtl"], from_csr.obsm["X_scdtl"])
    assert content(adata.X) == before


def test_a_layer_gives_the_numbers_of_x(adata, from_csr):
    adata.layers["counts"] = adata.X
    adata.X = np.log1p(adata.X.toarray())
    impute(adata, **QUICK, layer="counts")
    assert np.array_equal(adata.layers["scdtl"], from_csr.layers["scdtl"])


def test_same_seed_same_numbers_whatever_the_callers_state(adata, from_csr):
    torch.manual_seed(11)
    impute(adata, **QUICK)
    assert np.array_equal(adata.layers["scdtl"], from_csr.layers["scdtl"])
    assert np.array_equal(adata.var["scdtl_trust"], from_csr.var["scdtl_trust"], equal_nan=True)
    impute(adata, **QUICK, random_state=1)
    assert not np.array_equal(adata.layers["scdtl"], from_csr.layers["scdtl"])


def test_same_seed_same_numbers_from_bulk(adata, toy_bulk_model):
    results = [
        impute(adata, bulk=toy_bulk_model, max_epochs=8, random_state=seed, copy=True)
        for seed in (0, 0, 1)
    ]
    first, second, other = (result.layers["scdtl"] for result in results)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def random_states():
    legacy = np.random.get_state()  # noqa: NPY002
    return pickle.dumps((legacy, random.getstate(), torch.get_rng_state().numpy()))


@pytest.mark.parametrize("options", [{}, {"model_kwargs": {"n_layers": 3}}, {"genes": "GENE1"}])
def test_the_callers_random_states_are_untouched(adata, options):
    before = random_states()
    try:
        impute(adata, **QUICK, batch_key="batch", **options)
    except TypeError:
        assert options
    assert random_states() == before


# Bulk of every kind


def test_every_kind_of_bulk_gives_the_same(adata, toy_bulk_model, toy_weights_file):
    kinds = [toy_bulk_model, toy_bulk_model.to_weights(), toy_weights_file, str(toy_weights_file)]
    results = [impute(adata, bulk=bulk, max_epochs=2, copy=True) for bulk in kinds]
    for result in results:
        assert result.var["scdtl_in_bulk"].all()
        # Files hold float16.
        np.testing.assert_allclose(
            result.layers["scdtl"], results[-1].layers["scdtl"], rtol=0.02, atol=0.02
        )


@pytest.fixture
def _quick_bulk_training(monkeypatch):
    train = BulkDAE.train
    monkeypatch.setattr(
        BulkDAE, "train", lambda self, **kwargs: train(self, 1, n_episodes=3, **kwargs)
    )


@pytest.mark.usefixtures("_quick_bulk_training")
def test_a_bulk_anndata_is_trained_on_and_left_alone(adata):
    bulk = toy_bulk()
    bulk.X = sparse.csr_matrix(bulk.X, dtype=np.float64)
    before = snapshot(bulk)
    impute(adata, bulk=bulk, max_epochs=2)
    assert adata.uns["scdtl"]["weights"]["n_genes_matched"] == 40
    assert adata.uns["scdtl"]["params"]["bulk"] == "AnnData"
    assert snapshot(bulk) == before


@pytest.mark.usefixtures("_quick_bulk_training")
def test_ensembl_ids_of_a_bulk_anndata_are_known(adata):
    bulk = toy_bulk()
    bulk.var["ensembl_id"] = [f"ENSG{number:011d}" for number in range(40)]
    adata.var_names = bulk.var["ensembl_id"].to_numpy()
    impute(adata, bulk=bulk, max_epochs=2)
    assert adata.var["scdtl_in_bulk"].all()


# Memory


@pytest.fixture
def inner(monkeypatch):
    """Weak references to the models that impute builds and to their data."""
    seen = []
    build = SCDTL.__init__

    @functools.wraps(build)
    def watched(self, adata, *args, **kwargs):
        seen.extend([weakref.ref(self), weakref.ref(adata)])
        build(self, adata, *args, **kwargs)

    monkeypatch.setattr(SCDTL, "__init__", watched)
    return seen


def freed(*references):
    gc.collect()
    return all(reference() is None for reference in references)


def test_model_and_data_are_freed(inner):
    adata = toy()
    references = [weakref.ref(adata), weakref.ref(adata.X.data)]
    impute(adata, **QUICK)
    assert len(inner) == 2
    assert freed(*inner)
    del adata
    assert freed(*references)


@pytest.mark.parametrize(
    "options",
    [
        {"model_kwargs": {"n_layers": 3}},
        {"train_kwargs": {"n_steps": 3}},
        {"scale": "expected_log1p", "return_std": True},
    ],
    ids=["building", "training", "imputing"],
)
def test_data_are_freed_after_an_error(inner, options):
    adata = toy()
    reference = weakref.ref(adata.X.data)
    with pytest.raises((TypeError, ValueError)) as raised:
        impute(adata, **QUICK, **options)
    del raised, adata
    assert freed(*inner, reference)


@pytest.mark.usefixtures("_quick_bulk_training")
def test_a_bulk_anndata_is_freed(adata):
    bulk = toy_bulk()
    reference = weakref.ref(bulk.X.data)
    impute(adata, bulk=bulk, max_epochs=2)
    del bulk
    assert freed(reference)
