"""Properties of impute on any input: a sound result or our own error, and nothing else changed."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import currently_in_test_context, event, given, reject, settings
from hypothesis import strategies as st
from scipy import sparse

import scdtl
from scdtl.datasets import toy
from scdtl.pp import impute

# Of scvi-tools, which says rightly what to expect of a batch of one cell.
pytestmark = pytest.mark.filterwarnings("ignore:Category .* has fewer than 3 cells:UserWarning")

TINY = {"n_hidden": 8, "n_latent": 3, "patch_size": 4}
ROOT = str(Path(scdtl.__file__).parent)
SLOTS = ("obs", "var", "uns", "obsm", "varm", "obsp", "varp", "layers")


# The input


def rows_out_of_order(dense):
    matrix = sparse.csr_matrix(dense)
    for row in range(matrix.shape[0]):
        part = slice(*matrix.indptr[row : row + 2])
        for values in (matrix.indices, matrix.data):
            values[part] = values[part][::-1].copy()
    matrix.has_sorted_indices = False
    return matrix


def in_two_parts(dense):
    """CSR in which an entry may be stored as two, the second of them a 0."""
    matrix = sparse.csr_matrix(dense)
    parts = (np.repeat(matrix.data, 2), np.repeat(matrix.indices, 2), 2 * matrix.indptr)
    parts[0][1::2] = 0
    return sparse.csr_matrix(parts, shape=matrix.shape)


def with_stored_zeros(dense):
    n_rows, n_columns = dense.shape
    columns = np.tile(np.arange(n_columns), n_rows)
    indptr = np.arange(n_rows + 1) * n_columns
    return sparse.csr_matrix((dense.ravel(), columns, indptr), shape=dense.shape)


def read_only(dense):
    dense = dense.copy()
    dense.flags.writeable = False
    return dense


def strided(dense):
    return np.repeat(dense, 2, axis=1)[:, ::2]


FORMATS = {
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csc_matrix": sparse.csc_matrix,
    "csc_array": sparse.csc_array,
    "coo_matrix": sparse.coo_matrix,
    "rows out of order": rows_out_of_order,
    "entries in two parts": in_two_parts,
    "stored zeros": with_stored_zeros,
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "strided": strided,
    "read only": read_only,
    "np.matrix": np.asmatrix,
}
DTYPES = ["float32", "float64", "float16", "int32", "int64", "int8", "uint8", "uint32", "uint64"]
DTYPES += ["bool", "longdouble"]
NAMES = {
    "plain": [f"GENE{number}" for number in range(9)],
    "odd": ["", "__", "a/b", "Ä b", "π\u200b", "x" * 300, "a\tb", "'\"", "🧬"],
    "numbers": [str(number) for number in range(9)],
    "like numbers": ["nan", "None", "1e5", "-1", "0.0", "True", "inf", "01", "1"],
    "human": ["CD3D", "CD4", "LYZ", "NKG7", "MS4A1", "PPBP", "CST3", "GNLY", "IL7R"],
    "repeated": ["A", "B", "A", *"CDEFGH"],
}


@st.composite
def count_arrays(draw, most=9, min_obs=1):
    """Small dense counts with empty cells and genes, of one of many sizes."""
    n_obs, n_vars = draw(st.integers(min_obs, most)), draw(st.integers(1, most))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    largest = draw(st.sampled_from([0, 1, 5, 120, 1_000_000]))
    density = draw(st.sampled_from([0.1, 0.5, 1.0]))
    counts = rng.integers(0, largest + 1, (n_obs, n_vars)) * (
        rng.random((n_obs, n_vars)) < density
    )
    counts[rng.random(n_obs) < draw(st.sampled_from([0, 0, 0.5]))] = 0
    counts[:, rng.random(n_vars) < draw(st.sampled_from([0, 0, 0.5]))] = 0
    return counts


@st.composite
def anndatas(draw, names=None):
    counts = draw(count_arrays())
    dtype = draw(st.sampled_from(DTYPES))
    if dtype == "bool" or np.dtype(dtype).kind in "iu":
        largest = 1 if dtype == "bool" else min(np.iinfo(dtype).max, 2**62)
        counts = np.minimum(counts, largest)
    elif dtype == "float16":
        counts = np.minimum(counts, 2_048)
    form = draw(st.sampled_from(list(FORMATS)))
    kind = names or draw(st.sampled_from(list(NAMES)))
    n_obs, n_vars = counts.shape
    batches = np.array(["one", "two", "three"])[np.minimum(np.arange(n_obs), 2)]
    repeated = draw(st.booleans()) and "repeated cell names"
    obs = pd.DataFrame(
        {"batch": pd.Categorical(batches), "number": np.arange(n_obs) % 2},
        index=["cell"] * n_obs if repeated else [f"c{number}" for number in range(n_obs)],
    )
    with warnings.catch_warnings():  # of NumPy about np.matrix, of anndata about names
        warnings.simplefilter("ignore")
        try:
            matrix = FORMATS[form](counts.astype(dtype))
            var = pd.DataFrame({"kept": 1.5}, index=NAMES[kind][:n_vars])
            adata = anndata.AnnData(matrix, obs=obs, var=var)
            adata.layers["same"] = adata.X.copy()
        except (TypeError, ValueError):  # SciPy or anndata take no such matrix
            reject()
    adata.uns["note"] = {"array": np.arange(3.0), "text": "as it was"}
    adata.obsm["X_old"] = np.ones((n_obs, 2))
    event(f"{form}, {dtype}")
    return adata


@st.composite
def options(draw, adata):
    scale = draw(st.sampled_from(["log1p", "normalized", "counts", "expected_log1p"]))
    genes = draw(st.sampled_from([None, None, list(adata.var_names[::-2])]))
    return {
        "scale": scale,
        "replace": draw(st.sampled_from(["all", "zeros", "trusted"])),
        "return_std": scale != "expected_log1p" and draw(st.booleans()),
        "false_zero_rate": draw(st.sampled_from([None, None, 0.05, 0.9])),
        "batch_key": draw(st.sampled_from([None, "batch", "number"])),
        "layer": draw(st.sampled_from([None, "same"])),
        "batch_size": draw(st.sampled_from([1, 2, 64])),
        "copy": draw(st.booleans()),
        "genes": genes,
    }


@st.composite
def odd_options(draw, adata):
    """Options of which some contradict each other, or are wrong."""
    values = {
        "scale": ["counts", "expected_log1p", "sqrt", None, 1, ["log1p"]],
        "replace": ["zeros", "trusted", "none", None, 0],
        "return_std": [True, False],
        "false_zero_rate": [0, 1, -0.1, 0.5, 2, np.nan, True],
        "batch_key": ["batch", "kept", "", 0, None],
        "layer": ["same", "scdtl", "other", "", 0],
        "library_size": [0, 1e4, -1, np.nan, np.inf, "5", [7.0] * adata.n_obs, [1.0] * 99, []],
        "key_added": ["same", "X", "a/b", "", None, 3, "note", "old"],
        "genes": [[], ["other"], "same", [0], [None], list(adata.var_names), adata.var_names[0]],
        "max_epochs": [-1, 1.5, "1", np.int64(0), True],
        "batch_size": [0, -1, 1.5, "64", None, np.int64(3)],
        "random_state": [-1, 2**32, 2**70, 1.5, "0", None, np.int64(3)],
        "bulk": ["martian", "", 5, ["human"], {}, Path("nowhere"), Path("."), b"human"],
    }
    names = draw(st.lists(st.sampled_from(list(values)), min_size=1, max_size=2, unique=True))
    return {name: draw(st.sampled_from(values[name])) for name in names}


# The outcome


def content(value, ordered=True):
    """Kind, dtype and bytes of what an AnnData holds; its order in memory too if it matters."""
    if sparse.issparse(value):
        parts = (value.data, value.indices, value.indptr)
        return type(value), value.shape, *(content(part) for part in parts)
    if isinstance(value, np.ndarray):
        order = (value.strides, value.flags.writeable) if ordered else None
        return value.dtype, value.shape, order, value.tobytes()
    if isinstance(value, pd.DataFrame):
        values = [content(np.asarray(value[column]), ordered=False) for column in value]
        return tuple(value.columns), tuple(value.index), tuple(value.dtypes), values
    if isinstance(value, Mapping):
        return {key: content(entry, ordered) for key, entry in value.items()}
    return repr(value)


def snapshot(adata, ordered=True):
    found = {slot: content(getattr(adata, slot), ordered) for slot in SLOTS}
    return found | {"X": content(adata.X, ordered)}


def without_results(adata, ordered):
    """The snapshot without the fields that impute's docstring lists."""
    found = snapshot(adata, ordered)
    results = ["scdtl_in_bulk", "scdtl_trust", "scdtl_trusted"]
    assert list(adata.var)[-3:] == results
    found["var"] = content(adata.var.drop(columns=results))
    for slot, name in [("layers", "scdtl"), ("obsm", "X_scdtl"), ("uns", "scdtl")]:
        del found[slot][name]
    found["layers"].pop("scdtl_std", None)
    return found


def assert_own(error):
    """It was raised by a statement of this package, not somewhere below it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename}:{frame.lineno}: {frame.line}: {error!r}"
    assert frame.filename.startswith(ROOT), where
    assert frame.line.startswith("raise "), where


def assert_sound(adata, counts, wanted):
    for name in ("scdtl", "scdtl_std")[: 1 + wanted["return_std"]]:
        layer = adata.layers[name]
        values = layer.toarray() if sparse.issparse(layer) else layer
        assert values.shape == counts.shape
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert not values[counts.sum(1) == 0].any()
    assert np.isfinite(adata.obsm["X_scdtl"]).all()
    assert adata.var["scdtl_trusted"].dtype == bool
    assert not (adata.var["scdtl_trust"] > 1).any()


def note_event(text):
    if currently_in_test_context():
        event(text)


def outcome(adata, **wanted):
    """Impute, and check whatever comes of it; None after an error."""
    before, unordered = snapshot(adata), snapshot(adata, ordered=False)
    try:
        with warnings.catch_warnings():
            if wanted["copy"]:  # anndata's copy() minds repeated names
                warnings.filterwarnings("ignore", message="Observation names are not unique")
            result = impute(adata, **wanted, verbose=False)
    except (ValueError, TypeError, KeyError) as error:
        note_event(f"refused: {str(error)[:30]}")
        assert_own(error)
        assert snapshot(adata) == before
        return None
    note_event("imputed")
    if wanted["copy"]:
        assert snapshot(adata) == before
        before = unordered
    else:
        assert result is None
        result = adata
    assert without_results(result, ordered=not wanted["copy"]) == before
    matrix = adata.X.toarray() if sparse.issparse(adata.X) else adata.X
    assert_sound(result, np.asarray(matrix, dtype=float), wanted)
    return result


@given(data=st.data(), max_epochs=st.sampled_from([0, 0, 0, 1]))
@settings(deadline=None, max_examples=100)
def test_any_counts_give_a_sound_result_or_our_error(data, max_epochs):
    adata = data.draw(anndatas())
    wanted = data.draw(options(adata))
    outcome(adata, bulk=None, max_epochs=max_epochs, model_kwargs=TINY, **wanted)


@given(data=st.data())
@settings(deadline=None, max_examples=15)
def test_any_counts_of_human_genes_go_with_the_human_weights(data):
    adata = data.draw(anndatas(names="human"))
    wanted = data.draw(options(adata))
    outcome(adata, max_epochs=0, **wanted)


def put(value, dtype=None):
    def change(counts):
        counts = counts.astype(dtype or np.float64)
        counts[-1, -1] = value
        return counts

    return change


ODD = {
    "NaN": put(np.nan),
    "infinite": put(np.inf),
    "negative": put(-1),
    "negative integer": put(-1, np.int64),
    "fraction": put(0.5),
    "small fraction": put(1e-300),
    "above float32": put(1e39),
    "1e30": put(1e30),
    "2**24 + 1": put(2**24 + 1, np.int64),
    "2**31": put(2**31, np.int64),
    "2**53": put(2**53, np.float64),
    "2**62": put(2**62, np.int64),
    "2**64 - 1": put(2**64 - 1, np.uint64),
    "-0.0": put(-0.0),
    "complex": put(1 + 1j, np.complex128),
    "objects": put(1, object),
    "texts": put("1", "U3"),
    "masked": lambda counts: np.ma.masked_array(counts, counts > 3),
}


@pytest.mark.parametrize("form", [np.array, sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("max_epochs", [0, 1])
@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_odd_values_give_a_sound_result_or_our_error(change, form, max_epochs):
    counts = change(toy(7, 5).X.toarray())
    try:
        adata = anndata.AnnData(counts if form is np.array else form(counts))
    except (TypeError, ValueError) as error:
        pytest.skip(f"no such AnnData: {error}")
    options = {"copy": False, "return_std": True}
    outcome(adata, bulk=None, max_epochs=max_epochs, model_kwargs=TINY, **options)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)], ids=str)
@pytest.mark.parametrize("form", [np.zeros, sparse.csr_matrix])
def test_no_cells_or_no_genes_are_refused(shape, form):
    with pytest.raises(ValueError, match="has no (cells|genes)") as raised:
        impute(anndata.AnnData(form(shape)))
    assert_own(raised.value)


def test_a_view_is_refused_and_stays_one():
    whole = toy(8, 6)
    before = snapshot(whole)
    view = whole[::2, 1:]
    with pytest.raises(ValueError, match=r"adata\.copy\(\)") as raised:
        impute(view, bulk=None, max_epochs=0)
    assert_own(raised.value)
    assert view.is_view
    assert snapshot(whole) == before


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_backed_anndata_is_refused_and_its_file_untouched(tmp_path, mode):
    path = tmp_path / "cells.h5ad"
    toy(8, 6).write_h5ad(path)
    before = path.read_bytes()
    adata = anndata.read_h5ad(path, backed=mode)
    with pytest.raises(ValueError, match=r"adata\.to_memory\(\)") as raised:
        impute(adata, bulk=None, max_epochs=0)
    assert_own(raised.value)
    adata.file.close()
    assert path.read_bytes() == before


@given(data=st.data())
@settings(deadline=None, max_examples=200)
def test_odd_options_end_in_a_result_or_our_error(data):
    adata = toy(6, 5)
    adata.obs["batch"] = list("aabbbb")
    adata.layers["same"] = adata.X.copy()
    adata.uns["note"] = "as it was"
    adata.obsm["X_old"] = np.ones((6, 2))
    wanted = {"bulk": None, "max_epochs": 0, "model_kwargs": TINY}
    wanted |= data.draw(odd_options(adata))
    before = snapshot(adata)
    try:
        impute(adata, **wanted, verbose=False)
    except (ValueError, TypeError, KeyError, FileNotFoundError) as error:
        assert_own(error)
        assert snapshot(adata) == before


@pytest.mark.parametrize(
    "options",
    [
        {"accelerator": "abacus"},
        {"devices": "many"},
        {"devices": 0},
        {"model_kwargs": {"n_layers": 2}},
        {"model_kwargs": {"n_latent": -1}},
        {"model_kwargs": {"patch_size": 0}},
        {"train_kwargs": {"n_steps": 2}},
        {"train_kwargs": {"held_out_fraction": 2}},
        {"train_kwargs": {"plan_kwargs": {"lr": "high"}}},
    ],
    ids=str,
)
def test_whatever_other_packages_refuse_leaves_adata_as_it_was(options):
    adata = toy(6, 5)
    before = snapshot(adata)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - of any kind
        impute(adata, **({"bulk": None, "max_epochs": 1} | options), verbose=False)
    assert str(raised.value)
    assert snapshot(adata) == before
