"""Tests of genes that were not measured: what comes out, how good it is, what is refused."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from anndata.tests.helpers import assert_equal
from scipy import sparse
from scipy.stats import spearmanr

import scdtl
from scdtl.datasets import toy, toy_bulk
from scdtl.pp import impute, impute_unmeasured

OLD_WEIGHTS = Path(__file__).parents[1] / "model" / "saved_0_1" / "weights.safetensors"
HIDDEN = [f"GENE{i}" for i in range(30, 40)]
MARKERS = ["CST3", "MS4A1", "FCER1G", "HLA-DPA1", "GZMB", "AIF1", "CD79A"]


@pytest.fixture
def panel():
    """60 cells × the first 30 of the 40 genes that the toy weights know; a test may change it."""
    return toy(n_batches=2)[:, :30].copy()


@pytest.fixture
def quick(toy_bulk_model):
    """Function that imputes from the toy bulk after one epoch."""

    def run(adata, genes=None, **options):
        defaults = {"bulk": toy_bulk_model, "max_epochs": 1, "verbose": False}
        return impute_unmeasured(adata, genes, **(defaults | options))

    return run


@pytest.fixture(scope="module")
def real(pbmc_counts):
    """A panel of 300 of the real genes, what is imputed from it, and the other genes as truth."""
    others = pbmc_counts.var_names.difference(MARKERS)
    shown = np.random.default_rng(0).choice(others, 300, replace=False)
    panel = pbmc_counts[:, shown].copy()
    imputed = impute_unmeasured(panel, bulk="human", verbose=False)
    counts = pbmc_counts.to_df()
    observed = np.log1p(counts.div(counts.sum(axis=1), axis=0) * 1e4)
    truth = observed[[gene for gene in imputed.var_names if gene in observed]]
    return panel, imputed, truth


# What comes out


def test_all_genes_that_bulk_knows_and_the_data_lack_are_imputed(panel, quick):
    result = quick(panel)
    assert list(result.var_names) == HIDDEN
    assert list(result.obs_names) == list(panel.obs_names)
    assert result.X.dtype == np.float32
    assert np.isfinite(result.X).all()
    assert (result.X >= 0).all()
    assert result.var["expected_r"].between(-1, 1).all()


def test_the_data_stay_as_they_are(panel, quick):
    panel.uns["note"] = "mine"
    before = panel.copy()
    quick(panel)
    assert_equal(panel, before)


def test_obs_and_obsm_are_carried_over_as_copies(panel, quick):
    panel.obsm["spatial"] = np.arange(120.0).reshape(60, 2)
    panel.obsm["table"] = pd.DataFrame({"a": range(60)}, index=panel.obs_names)
    result = quick(panel)
    pd.testing.assert_frame_equal(result.obs, panel.obs)
    assert np.array_equal(result.obsm["spatial"], panel.obsm["spatial"])
    pd.testing.assert_frame_equal(result.obsm["table"], panel.obsm["table"])
    result.obs["new"] = 1
    result.obsm["spatial"][:] = 0
    assert "new" not in panel.obs
    assert panel.obsm["spatial"].any()


def test_uns_records_the_call_and_what_it_started_from(panel, quick, toy_weights_file):
    entry = quick(panel, HIDDEN[:2], bulk=toy_weights_file, random_state=3).uns["scdtl"]
    assert entry["params"]["bulk"] == str(toy_weights_file)
    assert list(entry["params"]["genes"]) == HIDDEN[:2]
    assert entry["params"]["scale"] == "log1p"
    assert entry["params"]["random_state"] == 3
    assert entry["weights"]["name"] == "toy"
    assert entry["weights"]["n_genes_matched"] == 30
    assert entry["noise"]["model"] == "umi"
    assert len(entry["history"]["train_loss"]) == 1


def test_a_result_survives_h5ad(panel, quick, tmp_path):
    panel.obsm["spatial"] = np.ones((60, 2))
    result = quick(panel, HIDDEN[:3])
    result.write_h5ad(tmp_path / "result.h5ad")
    again = anndata.read_h5ad(tmp_path / "result.h5ad")
    assert np.array_equal(again.X, result.X)
    assert np.array_equal(again.var["expected_r"], result.var["expected_r"])
    assert list(again.uns["scdtl"]["params"]["genes"]) == HIDDEN[:3]
    assert again.obs["batch"].equals(result.obs["batch"])


def test_log1p_is_the_logarithm_of_normalized(panel, quick):
    normalized = quick(panel, scale="normalized").X
    assert quick(panel).X == pytest.approx(np.log1p(normalized), rel=1e-5)


def test_the_mean_over_cells_is_the_level_of_bulk(panel, quick, toy_bulk_model):
    bulk = toy_bulk_model.adata
    expression = np.asarray(bulk.to_df())
    expected = (expression / expression.sum(1, keepdims=True)).mean(0)[30:] * 1e4
    assert quick(panel, scale="normalized").X.mean(0) == pytest.approx(expected, rel=1e-3)


def test_chosen_genes_are_as_among_all(panel, quick):
    every, some = quick(panel), quick(panel, ["GENE37", "GENE31"])
    assert list(some.var_names) == ["GENE37", "GENE31"]
    expected = every[:, some.var_names]
    assert some.X == pytest.approx(expected.X, rel=1e-5)
    assert np.allclose(some.var["expected_r"], expected.var["expected_r"], atol=1e-6)


def test_the_same_seed_gives_the_same_numbers(panel, quick):
    first, again, other = quick(panel), quick(panel), quick(panel, random_state=1)
    assert np.array_equal(first.X, again.X)
    assert first.var.equals(again.var)
    assert not np.array_equal(first.X, other.X)


@pytest.mark.slow
def test_own_bulk_samples_are_trained_with_the_seed_and_leave_the_callers_random_state(panel):
    results = []
    for own_seed in (1, 2):
        torch.manual_seed(own_seed)
        state = torch.get_rng_state()
        results.append(impute_unmeasured(panel, bulk=toy_bulk(), max_epochs=0, verbose=False))
        assert torch.equal(torch.get_rng_state(), state)
    first, again = results
    assert np.array_equal(first.X, again.X)
    assert list(first.var_names) == HIDDEN
    assert first.uns["scdtl"]["params"]["bulk"] == "AnnData"


def test_the_order_of_cells_and_genes_does_not_matter(panel, quick):
    rng = np.random.default_rng(0)
    cells, genes = rng.permutation(60), rng.permutation(30)
    expected = quick(panel)
    result = quick(panel[cells][:, genes].copy())
    assert list(result.var_names) == HIDDEN
    assert result.X == pytest.approx(expected.X[cells], rel=1e-4)
    assert np.allclose(result.var["expected_r"], expected.var["expected_r"], atol=1e-4)


def test_counts_may_be_dense_sparse_in_a_layer_or_a_view(panel, quick):
    expected = quick(panel).X
    dense, layered = panel.copy(), panel.copy()
    dense.X = panel.X.toarray()
    layered.layers["counts"] = sparse.csc_matrix(panel.X)
    layered.X = panel.X.log1p()
    assert np.array_equal(quick(dense).X, expected)
    result = quick(layered, layer="counts")
    assert np.array_equal(result.X, expected)
    assert result.uns["scdtl"]["params"]["layer"] == "counts"
    assert np.array_equal(quick(toy(n_batches=2)[:, :30]).X, expected)


def test_data_that_were_imputed_before_are_taken(panel, quick):
    expected = quick(panel).X
    impute(panel, bulk=None, max_epochs=1, verbose=False)
    assert np.array_equal(quick(panel).X, expected)


def test_what_a_batch_adds_to_all_its_cells_is_not_taken_for_biology(panel, quick):
    gain = np.random.default_rng(0).integers(1, 6, panel.n_vars)
    other = panel.copy()
    other.X = panel.X.toarray() * gain
    both = anndata.concat([panel, other], label="protocol", index_unique="-")

    def gap(**options):
        values = quick(both, **options).X
        return np.abs(values[:60].mean(0) - values[60:].mean(0)).mean()

    assert gap(batch_key="protocol") < 0.75 * gap()


def test_cells_without_counts_are_zero_and_change_nothing_else(panel, quick):
    values = panel.X.toarray()
    values[::10] = 0
    panel.X = values
    filled = values.any(1)
    result = quick(panel, scale="normalized")
    assert not result.X[~filled].any()
    expected = quick(panel[filled].copy(), scale="normalized")
    assert result.X[filled] == pytest.approx(expected.X, rel=1e-4)


def test_cells_may_share_a_name(panel, quick):
    expected = quick(panel).X
    panel.obs_names = ["cell"] * 60
    result = quick(panel)
    assert set(result.obs_names) == {"cell"}
    assert np.array_equal(result.X, expected)


def test_a_protein_of_a_genes_name_does_not_count_as_measured(panel, quick):
    expected = quick(panel[:, 1:].copy()).X
    panel.var["feature_types"] = ["Antibody Capture"] + ["Gene Expression"] * 29
    result = quick(panel)
    assert list(result.var_names) == ["GENE0", *HIDDEN]
    assert np.array_equal(result.X, expected)


@pytest.mark.parametrize("n_genes", [1, 3, 19])
def test_too_few_measured_genes_tell_nothing_of_what_to_expect(n_genes, panel, quick):
    result = quick(panel[:, :n_genes].copy())
    assert result.shape == (60, 40 - n_genes)
    assert np.isfinite(result.X).all()
    assert result.var["expected_r"].isna().all()


def test_twenty_measured_genes_are_enough_to_say_what_to_expect(panel, quick):
    assert quick(panel[:, :20].copy()).var["expected_r"].notna().all()


def test_reads_are_taken(panel, quick):
    rng = np.random.default_rng(0)
    panel.X = panel.X.toarray() * rng.integers(5, 50, panel.shape)
    result = quick(panel, noise="reads")
    assert result.uns["scdtl"]["noise"]["model"] == "reads"
    assert np.isfinite(result.X).all()
    assert result.X.std(0).min() > 0


# Real cells


def correlations(imputed, truth):
    predicted = imputed[:, truth.columns].X
    return pd.Series(
        [np.corrcoef(predicted[:, i], truth.iloc[:, i])[0, 1] for i in range(truth.shape[1])],
        index=truth.columns,
    )


def test_markers_that_a_real_panel_lacks_are_where_they_belong(real):
    panel, imputed, truth = real
    reached = correlations(imputed, truth)
    assert len(reached) > 400
    assert (reached[MARKERS] > 0.5).all()
    assert reached.median() > 0.1
    assert (reached < -0.1).mean() < 0.05
    cell_type = panel.obs["bulk_labels"]
    by_type = imputed[:, "MS4A1"].to_df()["MS4A1"].groupby(cell_type, observed=True).mean()
    assert by_type.idxmax() == "CD19+ B"


def test_what_to_expect_is_about_what_is_reached(real):
    _, imputed, truth = real
    reached = correlations(imputed, truth)
    expected = imputed.var.loc[truth.columns, "expected_r"]
    assert spearmanr(expected, reached).statistic > 0.4
    assert expected.mean() == pytest.approx(reached.mean(), abs=0.1)
    best = expected.nlargest(40).index
    assert reached[best].mean() > reached.mean() + 0.2


def test_real_names_may_be_ensembl_ids_or_aliases(real):
    panel, imputed, _ = real
    ensembl_id = imputed.var.loc["MS4A1", "ensembl_id"]
    assert ensembl_id == "ENSG00000156738"
    options = {"bulk": "human", "max_epochs": 0, "verbose": False}
    result = impute_unmeasured(panel, [ensembl_id, "IBA1"], **options)
    by_symbol = impute_unmeasured(panel, ["MS4A1", "AIF1"], **options)
    assert list(result.var_names) == [ensembl_id, "IBA1"]
    assert np.array_equal(result.X, by_symbol.X)


def test_a_mouse_panel_may_ask_by_its_own_names_whichever_weights_are_taken(real):
    panel = real[0].copy()
    panel.var_names = panel.var_names.str.capitalize()
    asked = ["Ms4a1", "Trp53"]
    for bulk in ("human", "mouse"):
        result = impute_unmeasured(panel, asked, bulk=bulk, max_epochs=0, verbose=False)
        assert list(result.var_names) == asked


# Errors


@pytest.mark.parametrize(
    ("genes", "options", "error", "message"),
    [
        (None, {"scale": "counts"}, ValueError, "scale must be 'log1p' or 'normalized'"),
        (None, {"batch_size": 0}, ValueError, "batch_size must be a whole number, 1 or more"),
        (None, {"bulk": None}, ValueError, "knows no genes but the measured ones: name weights"),
        (None, {"noise": "bad"}, ValueError, "noise='bad' is unknown"),
        (None, {"layer": "nowhere"}, KeyError, "layer 'nowhere' is not in adata.layers"),
        (None, {"batch_key": "nowhere"}, KeyError, "batch_key 'nowhere' is not a column"),
        (None, {"bulk": "human"}, ValueError, "'human' know hardly any of the measured genes"),
        (None, {"bulk": "auto"}, ValueError, "none of the weights on this machine know these"),
        (None, {"bulk": OLD_WEIGHTS}, ValueError, "hold no co-expression.*bulk='human'"),
        (["GENE35", "TP53"], {}, ValueError, "do not know TP53: leave them out, or leave out gen"),
        (["GENE35", "GENE2"], {}, ValueError, "GENE2 were measured.*scdtl.pp.impute imputes"),
        ("GENE35", {}, TypeError, r"write genes=\['GENE35'\]"),
        ([], {}, ValueError, "genes is empty"),
        (["GENE35", "GENE35"], {}, ValueError, "give each one once"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_wrong_arguments_are_refused_before_any_training(
    genes, options, error, message, panel, quick, monkeypatch
):
    before = panel.copy()

    def train(*_, **__):
        raise AssertionError("trained")

    monkeypatch.setattr(scdtl.SCDTL, "train", train)
    with pytest.raises(error, match=message):
        quick(panel, genes, **options)
    assert_equal(panel, before)


def test_wrong_counts_are_refused_before_own_bulk_is_trained(panel, monkeypatch):
    monkeypatch.setattr(scdtl.BulkDAE, "train", None)
    panel.layers["counts"] = panel.X.copy()
    panel.X = panel.X.log1p()
    with pytest.raises(ValueError, match="not integers.*pass layer='counts'"):
        impute_unmeasured(panel, bulk=toy_bulk())


def test_nothing_is_left_where_all_genes_were_measured(quick):
    with pytest.raises(ValueError, match="know were measured: scdtl.pp.impute imputes them"):
        quick(toy())


def test_cells_without_any_count_are_refused(panel, quick):
    panel.X = panel.X * 0
    with pytest.raises(ValueError, match="No cell has counts"):
        quick(panel)


def test_counts_in_a_file_are_refused_with_advice_that_works(panel, quick, tmp_path):
    expected = quick(panel).X
    panel.write_h5ad(tmp_path / "panel.h5ad")
    adata = anndata.read_h5ad(tmp_path / "panel.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"load it first with adata = adata.to_memory\(\)"):
        quick(adata)
    adata = adata.to_memory()
    assert np.array_equal(quick(adata).X, expected)


def test_counts_in_dask_are_refused_with_advice_that_works(panel, quick):
    da = pytest.importorskip("dask.array")
    expected = quick(panel).X
    adata = panel.copy()
    adata.X = da.from_array(panel.X.toarray(), chunks=(10, 30))
    with pytest.raises(TypeError, match=r"load it first with adata = adata.to_memory\(\)"):
        quick(adata)
    adata = adata.to_memory()
    assert np.array_equal(quick(adata).X, expected)


@pytest.mark.parametrize(
    ("genes", "options", "mended_genes", "mended"),
    [
        (["GENE35", "TP53"], {}, ["GENE35"], {}),
        (["GENE35", "TP53"], {}, None, {}),
        (["GENE35", "GENE2"], {}, ["GENE35"], {}),
        ("GENE35", {}, ["GENE35"], {}),
        ([], {}, None, {}),
        (["GENE35", "GENE35"], {}, ["GENE35"], {}),
        (None, {"scale": "counts"}, None, {"scale": "normalized"}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_advice_works(genes, options, mended_genes, mended, panel, quick):
    with pytest.raises((ValueError, TypeError)):
        quick(panel, genes, **options)
    assert quick(panel, mended_genes, **mended).n_obs == 60


def test_advice_on_weights_of_version_0_1_works(real):
    panel = real[0].copy()
    with pytest.raises(ValueError, match="take bulk='human' or bulk='mouse'"):
        impute_unmeasured(panel, bulk=OLD_WEIGHTS)
    for bulk in ("human", "mouse"):
        result = impute_unmeasured(panel, ["TP53"], bulk=bulk, max_epochs=0, verbose=False)
        assert result.n_vars == 1


def test_results_that_do_not_fit_into_memory_are_refused(panel, quick, monkeypatch):
    monkeypatch.setattr("scdtl.pp._limits.memory_left", lambda: 5_000)
    with pytest.raises(MemoryError, match=r"impute fewer genes with genes=\[...\]"):
        quick(panel)
    quick(panel, HIDDEN[:1])
