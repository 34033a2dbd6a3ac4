"""Properties that relate results of impute to each other."""

from __future__ import annotations

import threading
from functools import cache

import anndata
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scdtl import SCDTL, BulkDAE
from scdtl.datasets import toy
from scdtl.pp import impute
from scdtl.pretrained import load_weights

# Of scvi-tools, which says rightly what to expect of a batch of one cell.
pytestmark = pytest.mark.filterwarnings("ignore:Category .* has fewer than 3 cells:UserWarning")

TINY = {"n_hidden": 8, "n_latent": 3, "patch_size": 4}
ZERO_SHOT = {"bulk": None, "max_epochs": 0, "model_kwargs": TINY}
TRAINED = {"bulk": None, "max_epochs": 1, "model_kwargs": TINY}
HUMAN_GENES = ["CD3D", "CD4", "LYZ", "NKG7", "MS4A1", "PPBP", "CST3", "GNLY", "IL7R"]


@st.composite
def count_arrays(draw):
    """Counts of few cells and genes; some cells and genes are empty."""
    n_obs, n_vars = draw(st.integers(1, 12)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    counts = rng.poisson(rng.gamma(0.5, draw(st.sampled_from([0.5, 5, 500])), (n_obs, n_vars)))
    counts[rng.random(n_obs) < 0.1] = 0
    counts[:, rng.random(n_vars) < 0.1] = 0
    return counts


def anndata_of(matrix, names=HUMAN_GENES):
    adata = anndata.AnnData(matrix, var=pd.DataFrame(index=names[: matrix.shape[1]]))
    adata.obs["batch"] = [f"batch{number % 2}" for number in range(adata.n_obs)]
    return adata


def layer(adata, **options):
    """The imputed layer, dense; adata is left alone."""
    result = impute(adata, copy=True, verbose=False, **(ZERO_SHOT | options)).layers["scdtl"]
    return result.toarray() if sparse.issparse(result) else result


def each_bulk(test):
    return pytest.mark.parametrize("bulk", [None, "human"])(test)


def options_of(bulk):
    return {"bulk": bulk, "model_kwargs": TINY if bulk is None else None}


# Scales


@each_bulk
def test_the_scales_say_the_same(bulk):
    @given(counts=count_arrays())
    @settings(deadline=None, max_examples=15 if bulk is None else 4)
    def check(counts):
        adata = anndata_of(counts.astype(np.float32))
        normalized = layer(adata, scale="normalized", **options_of(bulk))
        depth = counts.sum(1)
        assert np.allclose(normalized.sum(1), 1e4 * (depth > 0), rtol=1e-5)
        logarithm = layer(adata, scale="log1p", **options_of(bulk))
        assert np.allclose(logarithm, np.log1p(normalized), rtol=1e-5, atol=1e-6)
        own = layer(adata, scale="counts", **options_of(bulk))
        assert np.allclose(own, normalized * depth[:, None] / 1e4, rtol=1e-4, atol=1e-6)
        other = layer(adata, scale="counts", library_size=500, **options_of(bulk))
        assert np.allclose(other, normalized * 500 / 1e4, rtol=1e-4, atol=1e-6)

    check()


@given(counts=count_arrays(), max_epochs=st.sampled_from([0, 0, 1]))
@settings(deadline=None, max_examples=15)
def test_zeros_filled_keep_every_observed_value(counts, max_epochs):
    adata = anndata_of(counts.astype(np.float32))
    seen, depth = counts > 0, counts.sum(1, keepdims=True)
    of_scale = {
        scale: layer(adata, scale=scale, replace="zeros", max_epochs=max_epochs)
        for scale in ("counts", "normalized", "log1p", "expected_log1p")
    }
    assert np.array_equal(of_scale["counts"][seen], counts[seen])
    per_10k = (counts * (1e4 / np.maximum(depth, 1)))[seen]
    assert np.allclose(of_scale["normalized"][seen], per_10k, rtol=1e-6)
    for scale in ("log1p", "expected_log1p"):
        assert np.allclose(of_scale[scale][seen], np.log1p(per_10k), rtol=1e-6)
    everything = layer(adata, scale="counts", max_epochs=max_epochs)
    assert np.array_equal(of_scale["counts"][~seen], everything[~seen])


@given(counts=count_arrays(), rate=st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=20)
def test_a_false_zero_rate_only_sets_unobserved_entries_to_zero(counts, rate):
    adata = anndata_of(counts.astype(np.float32))
    whole, cut = layer(adata), layer(adata, false_zero_rate=rate)
    assert np.array_equal(cut[counts > 0], whole[counts > 0])
    assert np.array_equal(cut[cut > 0], whole[cut > 0])


@given(counts=count_arrays(), data=st.data())
@settings(deadline=None, max_examples=20)
def test_genes_choose_columns_and_change_nothing_else(counts, data):
    adata = anndata_of(counts.astype(np.float32))
    names = list(adata.var_names)
    genes = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    whole, chosen = layer(adata), layer(adata, genes=genes)
    columns = adata.var_names.get_indexer(genes)
    assert np.array_equal(chosen[:, columns], whole[:, columns])
    assert not np.delete(chosen, columns, axis=1).any()


# Same counts, same numbers

FORMS = {
    "csc_matrix": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
}


@given(
    counts=count_arrays(),
    form=st.sampled_from(list(FORMS)),
    dtype=st.sampled_from(["float32", "float64", "int32", "int64", "uint32", "uint64"]),
    max_epochs=st.sampled_from([0, 1]),
)
@settings(deadline=None, max_examples=25)
def test_form_and_dtype_do_not_matter(counts, form, dtype, max_epochs):
    options = {"max_epochs": max_epochs, "batch_key": "batch"}
    expected = layer(anndata_of(sparse.csr_matrix(counts, dtype=np.float32)), **options)
    result = layer(anndata_of(FORMS[form](counts.astype(dtype))), **options)
    assert np.array_equal(result, expected)


@given(counts=count_arrays(), seed=st.integers(0, 2**40), max_epochs=st.sampled_from([0, 1]))
@settings(deadline=None, max_examples=20)
def test_a_seed_decides_on_the_numbers(counts, seed, max_epochs):
    adata = anndata_of(counts.astype(np.float32))
    options = {"random_state": seed, "max_epochs": max_epochs}
    assert np.array_equal(layer(adata, **options), layer(adata, **options))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_of_scvi_tools_do_not_change_the_numbers():
    adata = toy()
    expected = layer(adata, **TRAINED)
    before = scvi.settings.dl_num_workers
    try:
        for n_workers in (1, 2):
            scvi.settings.dl_num_workers = n_workers
            assert np.array_equal(layer(adata, **TRAINED), expected)
    finally:
        scvi.settings.dl_num_workers = before


# What uns remembers is enough to do it again

CALLS = {
    "default": {"max_epochs": 2},
    "trained": TRAINED,
    "zero-shot": ZERO_SHOT,
    "no bulk": {"bulk": None, "max_epochs": 2},
    "genes": TRAINED | {"genes": ["LYZ", "CD4"], "batch_key": "batch", "key_added": "mine"},
    "depths": ZERO_SHOT | {"scale": "counts", "library_size": [5.0] * 20},
    "depth": ZERO_SHOT | {"scale": "expected_log1p", "library_size": np.float32(700)},
    "zeros": ZERO_SHOT | {"return_std": True, "false_zero_rate": 0.05, "layer": "counts"},
    "numpy scalars": TRAINED | {"max_epochs": np.int64(2), "random_state": np.uint32(7)},
    "numpy texts": ZERO_SHOT | {"scale": np.str_("counts"), "genes": np.array(["LYZ", "CD4"])},
    "nested": TRAINED
    | {
        "model_kwargs": TINY | {"dropout_rate": np.float64(0.2)},
        "train_kwargs": {"plan_kwargs": {"lr": np.float32(1e-2)}, "early_stopping": False},
    },
    "index": ZERO_SHOT | {"genes": pd.Index(["LYZ"]), "batch_size": np.int32(3)},
    "series": ZERO_SHOT | {"scale": "counts", "library_size": pd.Series(range(20))},
}


@pytest.fixture
def cells():
    counts = np.random.default_rng(0).poisson(3, (20, 9)).astype(np.float32)
    adata = anndata_of(sparse.csr_matrix(counts))
    adata.layers["counts"] = adata.X.copy()
    return adata


def same(first, second):
    return np.array_equal(*(m.toarray() if sparse.issparse(m) else m for m in (first, second)))


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")  # of anndata
@pytest.mark.parametrize("through", ["memory", "h5ad", "zarr"])
@pytest.mark.parametrize("options", CALLS.values(), ids=CALLS)
def test_the_remembered_parameters_give_the_same_again(cells, tmp_path, options, through):
    impute(cells, verbose=False, **options)
    key = options.get("key_added", "scdtl")
    again = cells.copy()
    if through == "h5ad":
        cells.write_h5ad(tmp_path / "cells.h5ad")
        again = anndata.read_h5ad(tmp_path / "cells.h5ad")
    elif through == "zarr":
        pytest.importorskip("zarr")
        cells.write_zarr(tmp_path / "cells.zarr")
        again = anndata.read_zarr(tmp_path / "cells.zarr")
    for _ in range(2):  # the second time by what the first has remembered
        del again.layers[key]
        impute(again, verbose=False, **again.uns[key]["params"])
    assert same(again.layers[key], cells.layers[key])
    assert np.array_equal(again.obsm[f"X_{key}"], cells.obsm[f"X_{key}"])
    trust = f"{key}_trust"
    assert np.array_equal(again.var[trust], cells.var[trust], equal_nan=True)


# Order of cells and genes


@given(counts=count_arrays(), data=st.data(), max_epochs=st.sampled_from([0, 1]))
@settings(deadline=None, max_examples=25)
def test_a_model_does_not_mind_the_order_of_a_query(counts, data, max_epochs):
    adata = anndata_of(sparse.csr_matrix(counts, dtype=np.float32))
    cells = data.draw(st.permutations(range(adata.n_obs)))
    genes = data.draw(st.permutations(range(adata.n_vars)))
    options = ZERO_SHOT | {"max_epochs": max_epochs, "verbose": False, "copy": True}
    _, model = impute(adata, return_model=True, **options)
    expected = model.get_imputed_expression(return_numpy=True, silent=True)
    shuffled = adata[cells][:, genes].copy()
    result = model.get_imputed_expression(shuffled, return_numpy=True, silent=True)
    # Sums over cells of another block may round otherwise.
    assert np.allclose(result, expected[cells][:, genes], rtol=1e-5, atol=1e-5)


@given(counts=count_arrays(), data=st.data(), max_epochs=st.sampled_from([0, 2]))
@settings(deadline=None, max_examples=25)
def test_cells_and_genes_may_stand_in_any_order(counts, data, max_epochs):
    adata = anndata_of(sparse.csr_matrix(counts, dtype=np.float32))
    cells = data.draw(st.permutations(range(adata.n_obs)))
    genes = data.draw(st.permutations(range(adata.n_vars)))
    options = {"max_epochs": max_epochs, "batch_key": "batch"}
    expected = layer(adata, **options)[cells][:, genes]
    result = layer(adata[cells][:, genes].copy(), **options)
    assert np.allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def few_pbmc(pbmc_counts):
    """Real counts, in two batches; 3 of the genes are unknown to bulk."""
    adata = pbmc_counts[:200, :150]
    names = [f"GENE{i}" if i % 50 == 0 else name for i, name in enumerate(adata.var_names)]
    return anndata_of(adata.X.copy(), names)


REAL = {
    "zero-shot": {"bulk": "human"},
    "trained": {"bulk": "human", "max_epochs": 4},
    "without bulk": {"bulk": None, "max_epochs": 4},
    "zeros": {"bulk": "human", "false_zero_rate": 0.1},
    "batches": {"bulk": "human", "batch_key": "batch"},
    "a sample": {"bulk": None, "max_epochs": 2, "train_kwargs": {"max_training_cells": 70}},
}


@pytest.fixture(scope="module")
def expected_of(few_pbmc):
    """Function that gives the imputed real counts by the name of the options."""
    return cache(lambda name: layer(few_pbmc, **({"model_kwargs": None} | REAL[name])))


@pytest.mark.parametrize("axis", ["cells", "genes"])
@pytest.mark.parametrize("name", REAL)
def test_real_cells_and_genes_may_stand_in_any_order(few_pbmc, expected_of, axis, name):
    options = {"model_kwargs": None} | REAL[name]
    order = np.random.default_rng(0).permutation(few_pbmc.shape[axis == "genes"])
    where = (order, slice(None)) if axis == "cells" else (slice(None), order)
    result = layer(few_pbmc[where].copy(), **options)
    assert np.allclose(result, expected_of(name)[where], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", REAL)
def test_another_seed_gives_other_numbers(few_pbmc, expected_of, name):
    options = {"model_kwargs": None, "random_state": 1} | REAL[name]
    assert not np.allclose(expected_of(name), layer(few_pbmc, **options), atol=0.05)


@pytest.mark.parametrize("what", ["an empty gene", "an empty cell"])
@pytest.mark.parametrize("name", [name for name in REAL if name != "a sample"])
def test_what_is_empty_changes_nothing_else(few_pbmc, expected_of, what, name):
    options = {"model_kwargs": None} | REAL[name]
    n_obs, n_vars = few_pbmc.shape
    counts = few_pbmc.X.copy()
    counts.resize((n_obs + (what == "an empty cell"), n_vars + (what == "an empty gene")))
    names = [*few_pbmc.var_names, "ALB"][: counts.shape[1]]
    result = layer(anndata_of(counts, names), **options)
    assert not result[n_obs:].any()
    assert not result[:, n_vars:].any()
    assert np.allclose(result[:n_obs, :n_vars], expected_of(name), rtol=1e-4, atol=1e-4)


def test_bulk_may_know_only_genes_without_counts(few_pbmc):
    adata = few_pbmc[:, :40].copy()
    adata.var_names = [f"GENE{i}" if i < 30 else name for i, name in enumerate(adata.var_names)]
    counts = adata.X.toarray()
    counts[:, 30:] = 0
    adata.X = sparse.csr_matrix(counts)
    result = layer(adata, bulk="human", model_kwargs=None, max_epochs=1)
    assert np.isfinite(result).all()
    assert result[:, :30].any()
    assert not result[:, 30:].any()


# Threads


def test_threads_of_torch_change_no_more_than_rounding(few_pbmc):
    few_pbmc = few_pbmc[:100]
    for options, tolerance in ((REAL["zero-shot"], 1e-5), (REAL["trained"], 1e-3)):
        results = []
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            results.append(layer(few_pbmc, **({"model_kwargs": None} | options)))
        assert np.abs(results[1] - results[0]).max() < tolerance


# Many data sets, several threads


def managers():
    """The managers of data that scvi-tools holds on to, of both models."""
    stores = [
        store
        for model in (SCDTL, BulkDAE)
        for store in (
            model._setup_adata_manager_store,
            *model._per_instance_manager_store.values(),
        )
    ]
    return {id(manager): manager for store in stores for manager in store.values()}


def test_many_data_sets_leave_nothing_behind():
    before = managers()
    for seed in range(10):
        adata = toy(8, 6, seed=seed)
        impute(adata, **ZERO_SHOT, verbose=False)
        with pytest.raises(TypeError):
            impute(adata, bulk=None, model_kwargs={"n_layers": 2}, verbose=False)
    assert managers().keys() <= before.keys()  # those of other tests may go meanwhile


def in_threads(*functions):
    """What each function gives, all run at once."""
    results = [None] * len(functions)

    def run(number, function):
        results[number] = function()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_models_in_two_threads_do_not_disturb_each_other():
    models = [
        impute(toy(40, 20, seed=seed), **TRAINED, return_model=True, verbose=False)
        for seed in (0, 1)
    ]

    def use(model):
        found = [
            (
                model.get_imputed_expression(return_numpy=True, silent=True, batch_size=2),
                model.get_latent_representation(batch_size=2),
                model.posterior_predictive_sample(batch_size=2).toarray(),
            )
            for _ in range(5)
        ]
        return [array for arrays in found for array in arrays]

    expected = [use(model) for model in models]
    together = in_threads(*(lambda model=model: use(model) for model in models))
    for one, other in zip(expected, together, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


def test_two_imputations_in_two_threads_do_not_disturb_each_other():
    data = [toy(40, 20, seed=seed) for seed in (0, 1)]
    expected = [layer(adata, **TRAINED, random_state=seed) for seed, adata in enumerate(data)]
    together = in_threads(
        *(
            lambda seed=seed, adata=adata: layer(adata, **TRAINED, random_state=seed)
            for seed, adata in enumerate(data)
        )
    )
    assert all(np.array_equal(*pair) for pair in zip(expected, together, strict=True))


def test_weights_read_in_two_threads_are_the_same():
    first, second = in_threads(lambda: load_weights("human"), lambda: load_weights("human"))
    assert first.sha256 == second.sha256
    assert all(np.array_equal(first.tensors[key], second.tensors[key]) for key in first.tensors)
