"""Tests of what bulk samples must be, and of advice where they are not."""

from __future__ import annotations

import re

import anndata
import numpy as np
import pytest
from scipy import sparse

from scdtl import BulkDAE
from scdtl.datasets import toy_bulk
from scdtl.model._bulk_samples import dense, gene_names


def refusal_of(bulk, message):
    """The error of setup, which leaves the samples as they are."""
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        BulkDAE.setup_anndata(bulk)
    assert not bulk.uns
    return str(caught.value)


def followed(advice, bulk):
    """The samples after a line of code out of a message."""
    names = {"bulk": bulk, "np": np, "anndata": anndata}
    exec(advice, names)
    BulkDAE.setup_anndata(names["bulk"])
    return names["bulk"]


@pytest.fixture
def bulk():
    return toy_bulk()


def test_repeated_genes_are_named_and_can_be_told_apart_or_summed(bulk):
    bulk.var_names = ["TWICE" if name in ("GENE4", "GENE5") else name for name in bulk.var_names]
    message = refusal_of(bulk, r"not unique \(TWICE\)")
    summed = followed(re.search(r"bulk = .*obs=bulk\.obs\)", message)[0], bulk)
    assert summed.n_vars == 39
    expected = bulk.X[:, [4, 5]].sum(1)
    np.testing.assert_allclose(summed[:, "TWICE"].X.ravel(), np.ravel(expected))
    assert list(summed.obs["study"]) == list(bulk.obs["study"])
    made_unique = followed(re.search(r"bulk\.var_names_make_unique\(\)", message)[0], bulk)
    assert list(made_unique.var_names[4:6]) == ["TWICE", "TWICE-1"]


@pytest.mark.parametrize("fill", [0, np.nan], ids=["zeros", "NaN"])
def test_samples_without_expression_are_named_and_can_be_left_out(bulk, fill):
    values = bulk.X.toarray()
    values[[3, 7]] = fill
    values[0, :5] = np.nan
    bulk.X = values
    message = refusal_of(bulk, r"2 of 30 bulk samples have no expression.*\(SAMPLE3, SAMPLE7\)")
    left = followed(re.search(r"bulk = .*\.copy\(\)", message)[0], bulk)
    assert left.obs_names.equals(bulk.obs_names.drop(["SAMPLE3", "SAMPLE7"]))


@pytest.mark.parametrize("form", [np.array, sparse.csr_matrix], ids=["dense", "sparse"])
def test_a_logarithm_can_be_undone(bulk, form):
    counts = bulk.X.toarray()
    bulk.X = form(np.log1p(counts))
    message = refusal_of(bulk, "looks like logarithms")
    linear = followed(re.search(r"bulk\.X = np\.expm1\(bulk\.X\)", message)[0], bulk)
    np.testing.assert_allclose(dense(linear.X), counts, rtol=1e-4)


def test_values_that_are_no_numbers_are_refused(bulk):
    values = bulk.X.toarray().astype(object)
    values[0, 0] = "n.d."
    refusal_of(anndata.AnnData(values, obs=bulk.obs, var=bulk.var), "not numbers: .*n.d.")
    refusal_of(anndata.AnnData(obs=bulk.obs, var=bulk.var), "bulk.X is None")


def test_a_file_is_to_be_loaded(bulk, tmp_path):
    bulk.write_h5ad(tmp_path / "bulk.h5ad")
    backed = anndata.read_h5ad(tmp_path / "bulk.h5ad", backed="r")
    message = refusal_of(backed, "not in memory")
    followed(re.search(r"bulk = bulk\.to_memory\(\)", message)[0], backed)


@pytest.mark.parametrize(
    "form",
    [
        lambda counts: counts.astype(np.int64),
        lambda counts: counts.astype(np.uint32),
        lambda counts: counts.astype(object),
        lambda counts: np.asfortranarray(counts, dtype=np.float64),
        lambda counts: np.ma.masked_array(counts, np.isnan(counts)),
        sparse.csr_matrix,
        sparse.csc_matrix,
        sparse.csr_array,
        sparse.csc_array,
    ],
    ids=["int", "uint32", "object", "Fortran", "masked", "csr", "csc", "csr_array", "csc_array"],
)
def test_samples_are_read_from_any_matrix(bulk, form):
    counts = bulk.X.toarray()
    other = anndata.AnnData(obs=bulk.obs, var=bulk.var, layers={"counts": form(counts)})
    BulkDAE.setup_anndata(other, layer="counts")
    model = BulkDAE(other, n_hidden=8, n_latent=3)
    model.train(max_epochs=1, n_episodes=2, enable_progress_bar=False)
    mean = (counts / counts.sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(model.to_weights().tensors["log_mean"], np.log(mean), atol=1e-4)


# Names of genes

IDS = [f"ENSG{number:011d}" for number in range(4)]


@pytest.mark.parametrize("column", ["gene_name", "gene_symbols", "feature_name"])
def test_symbols_are_read_beside_ensembl_ids(bulk, column):
    var = bulk.var.iloc[:5].copy()
    var.index = [*(f"{name}.3" for name in IDS), "ERCC-00002"]
    var[column] = ["CD4", "CD4", None, "", "ERCC-00002"]
    symbols, ensembl_ids = gene_names(var)
    assert symbols == ["CD4", *(f"{name}.3" for name in IDS[1:]), "ERCC-00002"]
    assert ensembl_ids == list(var.index)


@pytest.mark.parametrize("column", ["ensembl_id", "gene_ids", "gene_id"])
def test_ensembl_ids_are_read_beside_symbols(bulk, column):
    var = bulk.var.iloc[:5].copy()
    var[column] = [*IDS, np.nan]
    assert gene_names(var) == (list(var.index), [*IDS, ""])


def test_one_kind_of_names_is_enough(bulk):
    assert gene_names(bulk.var) == (list(bulk.var_names), [""] * 40)
    var = bulk.var.iloc[:4].set_axis(IDS)
    assert gene_names(var) == (IDS, IDS)
