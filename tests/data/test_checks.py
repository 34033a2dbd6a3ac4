"""Tests of the checks of the user's input."""

from __future__ import annotations

import logging
import re
import warnings

import anndata
import numpy as np
import pytest
import scanpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csc_array, csc_matrix, csr_array, csr_matrix, isspmatrix_csr

from scdtl.data._checks import check_names
from scdtl.data._counts import find_counts
from scdtl.data._raw_counts import canonical_csr, check_counts, note_oddities
from scdtl.datasets import toy
from scdtl.pp import impute

OPTIONS = {
    "layer": None,
    "batch_key": None,
    "key_added": "scdtl",
    "genes": None,
}
FORMATS = {
    "csr": csr_matrix,
    "csr_array": csr_array,
    "csc": csc_matrix,
    "csc_array": csc_array,
    "dense": np.array,
    "dense_fortran": np.asfortranarray,
}


@pytest.fixture
def adata():
    return toy(n_batches=2)


def check(adata, **options):
    """The checks of impute; the counts."""
    options = OPTIONS | options
    genes = check_names(adata, **options)
    counts = find_counts(adata, options["layer"], genes).checked()
    note_oddities(counts)
    return counts


def with_value(adata, value):
    changed = adata.X.toarray()
    changed[3, 4] = value
    return anndata.AnnData(csr_matrix(changed), obs=adata.obs, var=adata.var)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint8])
@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_every_format_gives_the_same_counts(adata, form, dtype):
    expected = adata.X.toarray()
    adata.X = form(expected.astype(dtype))
    counts = check(adata)
    assert isspmatrix_csr(counts)
    assert counts.dtype == np.float32
    assert counts.has_canonical_format
    assert np.array_equal(counts.toarray(), expected)
    assert adata.X.dtype == dtype


def test_masked_counts_are_refused(adata):
    counts = np.ma.masked_equal(adata.X.toarray(), 1)
    with pytest.raises(TypeError, match=r"adata.X is a masked array.*filled\(0\)"):
        check_counts(counts)


def test_canonical_counts_are_not_copied(adata):
    assert np.shares_memory(check(adata).data, adata.X.data)


@given(
    dense=arrays(np.int16, (4, 3), elements=st.integers(0, 9)),
    duplicated=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=6),
    order=st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=30)
def test_untidy_csr_is_tidied_on_a_copy(dense, duplicated, order):
    entries = [(row, column, dense[row, column]) for row in range(4) for column in range(3)]
    entries += [(row, column, 2) for row, column in duplicated]
    order.shuffle(entries)
    entries.sort(key=lambda entry: entry[0])
    rows, columns, values = (np.array(part) for part in zip(*entries, strict=True))
    indptr = np.searchsorted(rows, np.arange(5))
    untidy = csr_matrix((values.astype(np.float32), columns, indptr), shape=(4, 3))
    before = [untidy.data.copy(), untidy.indices.copy()]
    counts = canonical_csr(untidy)
    expected = dense.astype(np.float32)
    np.add.at(expected, tuple(np.array(duplicated, dtype=int).reshape(-1, 2).T), 2)
    assert np.array_equal(counts.toarray(), expected)
    assert counts.has_canonical_format
    assert counts.data.all()
    assert np.array_equal(untidy.data, before[0])
    assert np.array_equal(untidy.indices, before[1])


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1, "negative values"),
        (0.5, "looks log-normalised"),
        (1000.5, "looks normalised or corrected"),
        (np.nan, "NaN"),
        (np.inf, "infinite"),
        (-np.inf, "infinite"),
        (1e300, "infinite"),
    ],
)
def test_values_that_are_no_counts_are_refused(form, value, message):
    matrix = np.full((5, 4), 0.5 if "looks" in message else 1.0)
    matrix[2, 3] = value
    with pytest.raises(ValueError, match=message):
        check_counts(form(matrix))


def test_the_message_says_where_the_counts_may_be(adata):
    adata.layers["counts"] = adata.X.copy()
    adata.X = np.log1p(adata.X.toarray())
    with pytest.raises(ValueError, match=r"log-normalised.*layer='counts'"):
        check(adata)
    adata.layers["log"] = adata.X
    adata.X = adata.layers.pop("counts")
    with pytest.raises(ValueError, match=r"adata\.layers\['log'\].*layer=None"):
        check(adata, layer="log")


def test_a_value_deep_in_a_large_matrix_is_found(adata, monkeypatch):
    monkeypatch.setattr("scdtl.data._raw_counts._BLOCK", 7)
    check(adata)
    with pytest.raises(ValueError, match="negative"):
        check(with_value(adata, -3))
    for form in (np.array, np.asfortranarray):
        with pytest.raises(ValueError, match="fractions of molecules"):
            check_counts(form(with_value(adata, 2.5).X.toarray()))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)], ids=["no cells", "no genes"])
def test_an_empty_anndata_is_refused(shape, request):
    with pytest.raises(ValueError, match=request.node.callspec.id):
        check(anndata.AnnData(csr_matrix(shape, dtype=np.float32)))


def test_empty_cells_and_genes_pass_with_a_note(adata, caplog):
    dense = adata.X.toarray()
    dense[:2] = 0
    dense[:, 5] = 0
    adata.X = dense
    with caplog.at_level(logging.DEBUG, logger="scdtl"):
        counts = check(adata)
    assert counts[:2].nnz == counts[:, 5].nnz == 0
    assert "2 cells have no counts" in caplog.text
    assert "1 genes have no counts" in caplog.text


def test_all_zero_counts_pass(adata):
    adata.X = np.zeros(adata.shape)
    assert check(adata).nnz == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": "spliced"}, KeyError, "'spliced' is not in adata.layers; there are: rates"),
        ({"batch_key": "donor"}, KeyError, "'donor' is not a column.*cell_type, batch"),
        ({"key_added": ""}, TypeError, "key_added must be a name"),
        ({"key_added": None}, TypeError, "key_added must be a name"),
        ({"key_added": "rates", "layer": "rates"}, ValueError, "overwrite the counts"),
        ({"key_added": "rates"}, ValueError, r"layers\['rates'\].*another key_added"),
        ({"genes": "GENE1"}, TypeError, r"genes=\['GENE1'\]"),
        ({"genes": []}, ValueError, "genes is empty"),
        ({"genes": ["GENE1", "TP53"]}, KeyError, "1 of 2 genes.*TP53.*GENE0, GENE1"),
        ({"genes": ["GENE1", "GENE1"]}, ValueError, "more than once"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_options_are_refused(adata, options, error, message):
    with pytest.raises(error, match=message):
        check(adata, **options)


def test_options_that_fit_pass(adata):
    check(adata, batch_key="batch", genes=["GENE3", "GENE1"])
    check(adata, genes=adata.var_names[:3])


def test_a_cell_without_batch_is_refused(adata):
    adata.obs["batch"] = adata.obs["batch"].where(np.arange(adata.n_obs) > 2)
    with pytest.raises(ValueError, match="NaN.* 3 of 60 cells"):
        check(adata, batch_key="batch")


def test_repeated_gene_names_are_refused(adata):
    adata.var_names = ["GENE0", *adata.var_names[:-1]]
    with pytest.raises(ValueError, match=r"GENE0.*var_names_make_unique"):
        check(adata)


def test_a_backed_anndata_is_refused(adata, tmp_path):
    adata.write_h5ad(tmp_path / "toy.h5ad")
    backed = anndata.read_h5ad(tmp_path / "toy.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"adata\.to_memory\(\)"):
        check(backed)
    backed.file.close()


def test_no_matrix_is_refused(adata):
    adata.layers["counts"] = adata.X
    adata.X = None
    with pytest.raises(ValueError, match=r"adata\.X is None.*pass layer='counts'\.$"):
        check(adata)


@pytest.mark.parametrize("matrix", [[[1, 2]], np.array([["1", "2"]]), np.array([[1 + 2j]])])
def test_what_is_no_matrix_of_numbers_is_refused(matrix):
    with pytest.raises(TypeError, match="convert it first|load it first"):
        check_counts(matrix)


def test_what_is_no_anndata_is_refused(adata):
    with pytest.raises(TypeError, match="AnnData"):
        check(adata.X)


@pytest.mark.parametrize(
    ("slot", "key"),
    [
        ("layers", "scdtl"),
        ("layers", "scdtl_std"),
        ("obsm", "X_scdtl"),
        ("var", "scdtl_in_bulk"),
        ("var", "scdtl_trust"),
        ("uns", "scdtl"),
    ],
)
def test_only_an_own_earlier_result_may_be_overwritten(adata, slot, key):
    foreign = {
        "layers": np.ones(adata.shape),
        "obsm": np.ones(adata.shape),
        "var": np.ones(adata.n_vars),
        "uns": {"params": {"n_neighbors": 15}},
    }
    getattr(adata, slot)[key] = foreign[slot]
    with pytest.raises(ValueError, match=rf"{slot}\['{key}'\].*key_added"):
        check(adata)
    adata.uns["scdtl"] = {"params": {"scale": "log1p", "replace": "all"}}
    check(adata)


@pytest.mark.parametrize(
    "options", [{}, {"layer": "rates"}, {"batch_key": "no"}], ids=["good", "no counts", "no batch"]
)
def test_the_anndata_stays_as_it_was(adata, options):
    adata.X = csr_matrix(adata.X, dtype=np.float64)
    adata.X.data[:3] = 0
    before = adata.copy()
    arrays_before = [adata.X.data, adata.X.indices, adata.X.indptr]
    try:
        check(adata, **options)
    except (KeyError, ValueError):
        assert options
    assert all(
        now is then
        for now, then in zip(
            [adata.X.data, adata.X.indices, adata.X.indptr], arrays_before, strict=True
        )
    )
    assert np.array_equal(adata.X.data, before.X.data)
    assert np.array_equal(adata.layers["rates"], before.layers["rates"])
    assert adata.obs.equals(before.obs)
    assert not adata.uns


# Advice, followed word for word


def follow(error, adata):
    """Run the statement in an error's message."""
    message = str(error.value)
    starts, ends = r"(?:: |\(|with )", r"(?:, then|\.$|\. |\), or)"
    statement = re.search(rf"{starts}((?:adata\S* = |del )[^;]*?){ends}", message)
    names = {"adata": adata, "numpy": np}
    exec(statement[1], names)
    return names["adata"]


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_fractions_of_molecules_are_named_and_the_advice_works(adata, form):
    whole = adata.X.toarray()
    adata.X = form(np.where(np.arange(40) % 4 == 0, whole * 0.9, whole))
    with pytest.raises(ValueError, match="fractions of molecules.*layer=") as error:
        check(adata)
    assert "log" not in str(error.value)
    adata = follow(error, adata)
    expected = np.rint(np.where(np.arange(40) % 4 == 0, whole * 0.9, whole))
    assert np.array_equal(check(adata, layer="counts").toarray(), expected)


def test_counts_in_raw_are_found_and_the_advice_works(adata):
    del adata.layers["rates"]
    counts = adata.X.toarray()
    adata.raw = adata.copy()
    adata = adata[:, ::-1].copy()
    scanpy.pp.normalize_total(adata)
    scanpy.pp.log1p(adata)
    adata.layers["scaled"] = scanpy.pp.scale(adata.X.toarray())
    with pytest.raises(ValueError, match=r"adata\.raw has them") as error:
        check(adata)
    assert "scaled" not in str(error.value)
    adata = follow(error, adata)
    assert np.array_equal(check(adata, layer="counts").toarray(), counts[:, ::-1])


def test_own_results_and_normalised_layers_are_not_offered_as_counts(adata):
    impute(adata, bulk=None, max_epochs=1, return_std=True, scale="counts", verbose=False)
    adata.layers["scdtl"] = np.rint(adata.layers["scdtl"])  # even where they look like counts
    adata.layers["spliced"] = adata.X.copy()
    adata.X = np.log1p(adata.X.toarray())
    with pytest.raises(ValueError, match="log-normalised") as error:
        check(adata)
    assert str(error.value).endswith("If they are in another layer, pass layer='spliced'.")


def test_results_whose_note_was_lost_are_named_and_the_advice_works():
    samples = [toy(seed=seed) for seed in (0, 1)]
    for sample in samples:
        impute(sample, bulk=None, max_epochs=1, verbose=False)
    merged = anndata.concat(samples, label="sample", index_unique="-")
    with pytest.raises(ValueError, match=r"concat drops uns") as error:
        impute(merged, bulk=None)
    merged = follow(error, merged)
    impute(merged, batch_key="sample", bulk=None, max_epochs=1, verbose=False)
    assert merged.layers["scdtl"].shape == merged.shape


def test_views_are_refused_only_where_they_would_be_written_to(tmp_path):
    adata = toy()
    copied = impute(adata[:30], copy=True, bulk=None, max_epochs=1, verbose=False)
    assert copied.shape == (30, 40)
    assert not copied.is_view
    with pytest.raises(ValueError, match="is a view") as error:
        impute(adata[:30], bulk=None)
    assert not follow(error, adata[:30]).is_view
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")[:30]
    with pytest.raises(ValueError, match=r"adata = adata\.to_memory\(\)") as error:
        impute(backed, bulk=None, lazy=True)
    impute(follow(error, backed), bulk=None, max_epochs=1, verbose=False)


def test_mudata_is_told_to_choose_a_modality():
    mudata = pytest.importorskip("mudata")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mdata = mudata.MuData({"prot": toy(n_vars=5), "rna": toy()})
    with pytest.raises(TypeError, match=r"as mdata\['rna'\]"):
        impute(mdata)


# Values that are whole numbers but no molecules


def test_rounded_tpm_are_told(pbmc_counts, caplog):
    counts = pbmc_counts[:120].X.toarray()
    tpm = csr_matrix(np.rint(counts / counts.sum(1, keepdims=True) * 1e6), dtype=np.float32)
    note_oddities(tpm)
    assert "do not look like UMI counts" in caplog.text
    assert "smallest value above zero" in caplog.text


def test_rounded_tpm_of_a_deep_library_are_told_by_their_sums(caplog):
    rates = np.random.default_rng(0).lognormal(0, 3, (20, 5000))
    tpm = np.rint(rates / rates.sum(1, keepdims=True) * 1e6)
    assert (tpm == 1).any(1).all()
    note_oddities(csr_matrix(tpm, dtype=np.float32))
    assert "all cells sum to about 1,000,000," in caplog.text


@pytest.mark.parametrize("target", [None, 500])
def test_counts_and_counts_sampled_to_one_depth_are_not_suspected(pbmc_counts, caplog, target):
    adata = pbmc_counts[:200].copy()
    if target is not None:
        adata.X = adata.X.astype(np.int64)
        scanpy.pp.downsample_counts(adata, counts_per_cell=target)
    note_oddities(canonical_csr(adata.X))
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_duplicates_of_small_integers_do_not_overflow():
    repeated = csr_matrix(
        (np.array([200, 100], dtype=np.uint8), np.array([0, 0]), np.array([0, 2])), shape=(1, 2)
    )
    assert canonical_csr(repeated).toarray().tolist() == [[300.0, 0.0]]
