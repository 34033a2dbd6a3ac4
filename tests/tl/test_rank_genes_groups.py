"""Tests of rank_genes_groups: scanpy's format, the statistic, error rates, what is refused."""

from __future__ import annotations

import inspect

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from matplotlib import pyplot as plt
from scipy import sparse, stats
from statsmodels.genmod.families import Poisson
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.stats.multitest import multipletests

from scdtl.datasets import toy
from scdtl.pp import impute
from scdtl.tl import rank_genes_groups

KEY = "rank_genes_groups"
FIELDS = ("names", "scores", "logfoldchanges", "pvals", "pvals_adj")


@pytest.fixture(autouse=True)
def _figures_are_closed():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def log_normalised(adata):
    result = adata.copy()
    sc.pp.normalize_total(result, target_sum=1e4)
    torch.set_num_threads(1)  # scanpy's numba resets torch's number as well
    sc.pp.log1p(result)
    return result


def ranked(adata, groupby="bulk_labels", **options):
    return rank_genes_groups(adata, groupby, copy=True, **options)


def by_gene(adata, group):
    """Result of one group, one row per gene in the order of names."""
    return sc.get.rank_genes_groups_df(adata, group).set_index("names").sort_index()


def two_groups(counts, in_b):
    genes = pd.DataFrame(index=[f"GENE{number}" for number in range(counts.shape[1])])
    groups = pd.DataFrame(
        {"group": np.where(in_b, "b", "a")}, [f"CELL{number}" for number in range(len(counts))]
    )
    return anndata.AnnData(sparse.csr_matrix(counts, dtype=np.float32), groups, genes)


@pytest.fixture(scope="module")
def cells(pbmc_counts):
    """Real cells of four populations, with log-normalised values in a layer."""
    kinds = ["CD19+ B", "CD56+ NK", "CD14+ Monocyte", "CD34+"]
    adata = pbmc_counts[pbmc_counts.obs["bulk_labels"].isin(kinds)].copy()
    adata.layers["log"] = log_normalised(adata).X
    adata.layers["counts"] = adata.X.copy()
    return adata


@pytest.fixture(scope="module")
def result(cells):
    return ranked(cells, pts=True)


# The format


@pytest.fixture(scope="module")
def of_scanpy(cells):
    adata = log_normalised(cells)
    sc.tl.rank_genes_groups(adata, "bulk_labels", pts=True, method="t-test")
    return adata.uns[KEY]


def test_fields_and_types_are_those_of_scanpy(result, of_scanpy):
    entry = result.uns[KEY]
    assert set(entry) == set(of_scanpy)
    params = {name for name, value in of_scanpy["params"].items() if value is not None}
    assert set(entry["params"]) == params
    for field in FIELDS:
        assert type(entry[field]) is type(of_scanpy[field])
        assert entry[field].dtype == of_scanpy[field].dtype
        assert entry[field].shape == of_scanpy[field].shape


@pytest.mark.parametrize("reference", ["rest", "CD34+"])
def test_fractions_of_expressing_cells_are_those_of_scanpy(cells, reference):
    entry = ranked(cells, pts=True, reference=reference).uns[KEY]
    adata = log_normalised(cells)
    sc.tl.rank_genes_groups(adata, "bulk_labels", pts=True, reference=reference, method="t-test")
    expected = adata.uns[KEY]
    assert ("pts_rest" in entry) == ("pts_rest" in expected)
    for name in {"pts", "pts_rest"} & set(expected):
        tested = list(entry["names"].dtype.names)
        pd.testing.assert_frame_equal(entry[name][tested], expected[name][tested])


def test_scanpys_getter_reads_it(result):
    table = sc.get.rank_genes_groups_df(result, None)
    assert len(table) == 4 * result.n_vars
    best = sc.get.rank_genes_groups_df(result, "CD19+ B", pval_cutoff=1e-6, log2fc_min=2)
    assert {"CD79A", "MS4A1", "CD79B"} <= set(best["names"])
    assert (best["pct_nz_group"] > best["pct_nz_reference"]).all()


@pytest.mark.parametrize(
    "plot",
    [
        sc.pl.rank_genes_groups,
        sc.pl.rank_genes_groups_dotplot,
        sc.pl.rank_genes_groups_matrixplot,
        sc.pl.rank_genes_groups_stacked_violin,
        sc.pl.rank_genes_groups_heatmap,
        sc.pl.rank_genes_groups_tracksplot,
    ],
    ids=lambda plot: plot.__name__,
)
def test_scanpys_plots_read_it(result, plot):
    adata = result.copy()
    adata.X = adata.layers["log"]
    alone = {} if plot is sc.pl.rank_genes_groups else {"dendrogram": False}
    plot(adata, n_genes=3, show=False, **alone)
    written = {text.get_text() for ax in plt.gcf().axes for text in ax.texts}
    for ax in plt.gcf().axes:
        written |= {label.get_text() for label in (*ax.get_xticklabels(), *ax.get_yticklabels())}
        written.add(ax.get_ylabel())
    assert set(by_best(result, "CD19+ B", 3)) <= written


@pytest.mark.filterwarnings("ignore:set_ticklabels:UserWarning")  # scanpy's own
@pytest.mark.parametrize("use_raw", [False, True])
def test_scanpys_violins_show_what_was_tested(cells, use_raw):
    """They ask the parameters of the run whether to read raw."""
    adata = log_normalised(cells)
    adata.raw = cells
    rank_genes_groups(adata, "bulk_labels", layer=None if use_raw else "counts", use_raw=use_raw)
    sc.pl.rank_genes_groups_violin(adata, "CD19+ B", n_genes=3, show=False, strip=False)
    highest = max(ax.get_ylim()[1] for ax in plt.gcf().axes)
    shown = cells if use_raw else adata
    of_best = shown[:, by_best(adata, "CD19+ B", 3)].X
    assert of_best.max() <= highest <= 2 * of_best.max()


def by_best(adata, group, n_genes):
    return list(sc.get.rank_genes_groups_df(adata, group)["names"][:n_genes])


def test_scanpys_filter_reads_it(result):
    adata = result.copy()
    adata.X = adata.layers["log"]
    sc.tl.filter_rank_genes_groups(adata, use_raw=False, min_fold_change=2)
    kept = pd.DataFrame(adata.uns["rank_genes_groups_filtered"]["names"])["CD19+ B"].dropna()
    assert "CD79A" in set(kept)
    assert len(kept) < adata.n_vars / 2


def test_it_survives_a_file(result, tmp_path):
    result.write_h5ad(tmp_path / "ranked.h5ad")
    again = anndata.read_h5ad(tmp_path / "ranked.h5ad")
    pd.testing.assert_frame_equal(
        sc.get.rank_genes_groups_df(again, None), sc.get.rank_genes_groups_df(result, None)
    )


@pytest.mark.parametrize("layer", [None, "counts"])
def test_files_hold_nothing_that_older_readers_do_not_know(cells, layer, tmp_path):
    """AnnData before 0.12, and R, read no file with a None in it."""
    ranked(cells, layer=layer, pts=True).write_h5ad(tmp_path / "ranked.h5ad")
    kinds = {}
    with h5py.File(tmp_path / "ranked.h5ad") as file:
        file.visititems(lambda name, item: kinds.update({name: item.attrs.get("encoding-type")}))
    assert [name for name, kind in kinds.items() if kind == "null"] == []
    assert any(name.endswith("params/layer") for name in kinds) == (layer is not None)


# Options


def test_arguments_are_those_of_scanpy():
    own, theirs = (
        inspect.signature(function).parameters
        for function in (rank_genes_groups, sc.tl.rank_genes_groups)
    )
    theirs = {name: argument for name, argument in theirs.items() if name != "kwds"}
    assert list(own) == list(theirs)
    for name, argument in theirs.items():
        assert (own[name].default, own[name].kind) == (argument.default, argument.kind), name


def test_an_argument_of_scanpys_classifier_is_unknown(cells):
    with pytest.raises(TypeError, match="unexpected keyword argument 'penalty'"):
        rank_genes_groups(cells, "bulk_labels", penalty="l1")


@pytest.mark.parametrize("method", ["wilcoxon", "t-test", "logreg"])
def test_a_test_of_scanpys_is_refused_with_advice_that_works(cells, method):
    with pytest.raises(ValueError, match=f"method='{method}' is not available") as refused:
        ranked(cells, method=method)
    assert "call scanpy.tl.rank_genes_groups on log-normalised counts" in str(refused.value)
    assert "method='quasi-likelihood'" in str(refused.value)
    assert KEY in ranked(cells, method="quasi-likelihood").uns
    adata = log_normalised(cells)
    sc.tl.rank_genes_groups(adata, "bulk_labels", method=method)
    assert adata.uns[KEY]["params"]["method"] == method


def test_a_correction_of_ties_is_refused_as_there_are_no_ranks(cells):
    with pytest.raises(ValueError, match="tie_correct=True is for .* Wilcoxon.*Leave it out"):
        ranked(cells, tie_correct=True)


MASKS = {
    "column": lambda genes: "is_tested",
    "array": lambda genes: genes,
    "list": lambda genes: list(genes),
    "nullable": lambda genes: pd.array(genes, dtype="boolean"),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_mask_var_tests_some_genes_at_the_depth_of_all(cells, result, mask):
    is_tested = np.arange(cells.n_vars) % 5 == 0
    adata = cells.copy()
    adata.var["is_tested"] = is_tested
    masked = ranked(adata, mask_var=mask(is_tested), pts=True)
    for group in result.uns[KEY]["scores"].dtype.names:
        found = by_gene(masked, group)
        of_all = by_gene(result, group).loc[sorted(adata.var_names[is_tested])]
        pd.testing.assert_frame_equal(
            found.drop(columns="pvals_adj"), of_all.drop(columns="pvals_adj")
        )
        adjusted = multipletests(found["pvals"], method="fdr_bh")[1]
        np.testing.assert_allclose(found["pvals_adj"], adjusted, rtol=1e-10)


def test_raw_is_tested_when_asked_for_and_only_then(cells, result):
    adata = log_normalised(cells)[:, ::2].copy()
    adata.raw = cells
    of_raw = ranked(adata, use_raw=True, pts=True)
    assert of_raw.uns[KEY]["params"]["use_raw"] is True
    for group in result.uns[KEY]["scores"].dtype.names:
        pd.testing.assert_frame_equal(by_gene(of_raw, group), by_gene(result, group))
    adata.X = cells[:, ::2].X
    expected = ranked(cells[:, ::2].copy())
    for use_raw in (None, False):
        of_x = ranked(adata, use_raw=use_raw)
        assert of_x.uns[KEY]["params"]["use_raw"] is False
        pd.testing.assert_frame_equal(by_gene(of_x, "CD34+"), by_gene(expected, "CD34+"))
    # A mask is of adata's own genes, also where raw has more.
    mask = np.arange(adata.n_vars) < 50
    masked = ranked(adata, use_raw=True, mask_var=mask)
    assert set(masked.uns[KEY]["names"]["CD34+"]) == set(adata.var_names[:50])


@pytest.mark.parametrize("use_raw", [False, True])
def test_features_that_are_no_genes_are_left_out(cells, use_raw):
    mixed = cells.copy()
    is_gene = np.arange(cells.n_vars) % 10 > 0
    mixed.var["feature_types"] = np.where(is_gene, "Gene Expression", "Antibody Capture")
    mixed.raw = mixed
    found, expected = ranked(mixed, use_raw=use_raw, pts=True), ranked(cells[:, is_gene], pts=True)
    pd.testing.assert_frame_equal(by_gene(found, "CD34+"), by_gene(expected, "CD34+"))


KINDS_OF_GROUPS = {
    "integers": [1, 2, 3],
    "category of integers": pd.Categorical([1, 2, 3]),
    "floats": [1.0, 2.0, 3.0],
    "texts": ["1", "2", "3"],
}


@pytest.mark.parametrize("values", KINDS_OF_GROUPS.values(), ids=KINDS_OF_GROUPS)
def test_groups_may_be_named_by_number_or_text(values, adata):
    adata.obs["group"] = pd.Series(values).repeat(20).set_axis(adata.obs_names)
    names = adata.obs["group"].astype(str).unique()
    expected = ranked(adata, "group", groups=[names[0]], reference=names[2])
    assert expected.uns[KEY]["params"]["reference"] == names[2]
    for number in (int, np.int64, float) if "1.0" in names else (int, np.int64):
        found = ranked(adata, "group", groups=[number(1)], reference=number(3))
        assert found.uns[KEY]["names"].dtype.names == (names[0],)
        pd.testing.assert_frame_equal(by_gene(found, names[0]), by_gene(expected, names[0]))


def test_groups_may_be_true_and_false(adata):
    adata.obs["group"] = np.arange(adata.n_obs) % 3 == 0
    found = ranked(adata, "group", groups=[True], reference=False)
    pd.testing.assert_frame_equal(
        by_gene(found, "True"), by_gene(ranked(adata, "group", groups=["True"]), "True")
    )


def test_a_view_is_read_and_becomes_an_object_of_its_own_when_written(cells, result):
    of_copy = ranked(cells[::2])
    whole = cells.copy()
    view = whole[::2]
    with pytest.warns(anndata.ImplicitModificationWarning, match="initializing view as actual"):
        rank_genes_groups(view, "bulk_labels")
    assert not view.is_view
    assert KEY not in whole.uns
    for adata in (of_copy, view):
        expected = ranked(cells[::2].copy())
        pd.testing.assert_frame_equal(by_gene(adata, "CD34+"), by_gene(expected, "CD34+"))


def test_genes_are_sorted_by_score_and_each_is_listed_once(result):
    for group in result.uns[KEY]["scores"].dtype.names:
        table = sc.get.rank_genes_groups_df(result, group)
        assert (np.diff(table["scores"]) <= 0).all()
        assert set(table["names"]) == set(result.var_names)


def test_rankby_abs_sorts_by_the_absolute_score_and_keeps_signs(cells, result):
    table = sc.get.rank_genes_groups_df(ranked(cells, rankby_abs=True), "CD56+ NK")
    assert (np.diff(table["scores"].abs()) <= 0).all()
    assert (table["scores"] < 0).any()
    pd.testing.assert_frame_equal(
        table.set_index("names").sort_index(),
        by_gene(result, "CD56+ NK")[list(table.columns[1:])],
    )


def test_n_genes_cuts_the_list_and_changes_nothing_else(cells, result):
    few = ranked(cells, n_genes=7).uns[KEY]
    for field in FIELDS:
        assert np.array_equal(few[field], result.uns[KEY][field][:7])


def test_adjusted_pvalues_are_those_of_statsmodels(cells, result):
    for group in result.uns[KEY]["pvals"].dtype.names:
        table = sc.get.rank_genes_groups_df(result, group)
        adjusted = multipletests(table["pvals"], method="fdr_bh")[1]
        np.testing.assert_allclose(table["pvals_adj"], adjusted, rtol=1e-10)
    table = sc.get.rank_genes_groups_df(ranked(cells, corr_method="bonferroni"), "CD19+ B")
    adjusted = multipletests(table["pvals"], method="bonferroni")[1]
    np.testing.assert_allclose(table["pvals_adj"], adjusted, rtol=1e-10)


def test_chosen_groups_have_the_numbers_that_all_have(cells, result):
    some = ranked(cells, groups=["CD56+ NK", "CD34+"])
    assert some.uns[KEY]["scores"].dtype.names == ("CD56+ NK", "CD34+")
    for field in FIELDS:
        for group in ("CD56+ NK", "CD34+"):
            assert np.array_equal(some.uns[KEY][field][group], result.uns[KEY][field][group])


def test_a_reference_is_compared_alone_and_not_with_itself(cells):
    adata = ranked(cells, reference="CD19+ B")
    assert "CD19+ B" not in adata.uns[KEY]["names"].dtype.names
    pair = cells[cells.obs["bulk_labels"].isin(["CD19+ B", "CD34+"])].copy()
    pd.testing.assert_frame_equal(by_gene(adata, "CD34+"), by_gene(ranked(pair), "CD34+"))


def test_groups_that_change_places_change_the_sign(cells):
    one = by_gene(ranked(cells, groups=["CD34+"], reference="CD19+ B"), "CD34+")
    other = by_gene(ranked(cells, groups=["CD19+ B"], reference="CD34+"), "CD19+ B")
    for column in ("scores", "logfoldchanges"):
        np.testing.assert_allclose(one[column], -other[column], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(one["pvals"], other["pvals"], rtol=1e-6)


def test_without_copy_only_uns_is_written(cells, result):
    adata = cells.copy()
    assert rank_genes_groups(adata, "bulk_labels", key_added="markers") is None
    assert set(adata.uns) == {"markers"}
    assert KEY not in cells.uns
    assert (adata.X != cells.X).nnz == 0
    assert adata.X.dtype == cells.X.dtype
    assert list(adata.obs) == list(cells.obs)
    assert np.array_equal(adata.uns["markers"]["scores"], result.uns[KEY]["scores"])


def test_a_layer_gives_the_numbers_of_x(cells, result):
    adata = cells.copy()
    adata.X = adata.layers["log"]
    for field in FIELDS:
        found = ranked(adata, layer="counts").uns[KEY]
        assert np.array_equal(found[field], result.uns[KEY][field])
    assert found["params"]["layer"] == "counts"


FORMATS = {
    "csc": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "dense": lambda x: x.toarray(),
    "dense float64": lambda x: x.toarray().astype(np.float64),
    "dense integers": lambda x: x.toarray().astype(np.int32),
    "csr of integers": lambda x: x.astype(np.int64),
}


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_every_format_gives_the_numbers_of_csr(cells, result, form):
    adata = anndata.AnnData(form(cells.X), obs=cells.obs, var=cells.var)
    for field in FIELDS:
        assert np.array_equal(ranked(adata).uns[KEY][field], result.uns[KEY][field])


def test_the_order_of_cells_and_genes_does_not_matter(cells, result):
    rng = np.random.default_rng(0)
    adata = cells[rng.permutation(cells.n_obs), rng.permutation(cells.n_vars)].copy()
    shuffled = ranked(adata, pts=True)
    for group in result.uns[KEY]["scores"].dtype.names:
        pd.testing.assert_frame_equal(by_gene(shuffled, group), by_gene(result, group))


# The statistic


@pytest.fixture(scope="module")
def planted_poisson():
    """Poisson counts of 2,000 cells; two genes have known ratios of their rates."""
    rng = np.random.default_rng(0)
    in_b = np.arange(2_000) % 4 == 0
    depth = rng.lognormal(0, 0.5, 2_000)
    rates = np.repeat(rng.lognormal(0, 1, 40)[None], 2_000, axis=0)
    rates[:, :2] = 2
    rates[in_b, 0] *= 4
    rates[in_b, 1] /= 2
    shares = rates / rates.sum(1, keepdims=True)
    adata = two_groups(rng.poisson(depth[:, None] * 60 * shares), in_b)
    return adata, in_b, shares


def test_without_over_dispersion_it_is_the_likelihood_ratio_of_a_poisson_glm(planted_poisson):
    adata, in_b, _ = planted_poisson
    table = by_gene(ranked(adata, "group"), "b").loc[adata.var_names]
    counts = adata.X.toarray().astype(float)
    offset = np.log(counts.sum(1))
    intercept = np.ones((len(counts), 1))
    for number in range(0, 40, 3):
        both, own = (
            GLM(counts[:, number], design, family=Poisson(), offset=offset).fit()
            for design in (intercept, np.column_stack([intercept, in_b]))
        )
        ratio = 2 * (own.llf - both.llf)
        # The divisor is at least 1 and, estimated from 2,000 cells, little more.
        assert 0.85 * ratio - 1e-6 <= table["scores"].iloc[number] ** 2 <= ratio * (1 + 1e-4)
        assert np.sign(table["scores"].iloc[number]) == np.sign(own.params[1])


def test_fold_changes_are_log2_of_the_ratio_of_rates(planted_poisson):
    adata, in_b, shares = planted_poisson
    table = by_gene(ranked(adata, "group"), "b").loc[adata.var_names]
    planted = np.log2(shares[in_b][0] / shares[~in_b][0])
    counts = adata.X.toarray()
    error = np.sqrt(1 / counts[in_b].sum(0) + 1 / counts[~in_b].sum(0)) / np.log(2)
    assert (np.abs(table["logfoldchanges"] - planted) < 4 * error).all()
    assert (error[:2] < 0.1).all()


def test_over_dispersion_lowers_the_score_as_the_variance_says():
    """With k-fold the Poisson variance, the ratio's root is divided by the root of k."""
    rng = np.random.default_rng(0)
    in_b = np.arange(1_000) % 2 == 0
    means = np.full((1_000, 200), 4.0) * np.where(in_b, 1.1, 1)[:, None] ** (np.arange(200) % 2)
    counts = rng.poisson(means * rng.gamma(2, 0.5, means.shape))  # variance: mean + mean² / 2
    table = by_gene(ranked(two_groups(counts, in_b), "group"), "b")
    molecules, depth = (
        [part[in_b == side].sum(0) for side in (True, False)] for part in (counts, counts.sum(1))
    )
    ratio = sum(
        2 * m * np.log(m / d / (sum(molecules) / sum(depth)))
        for m, d in zip(molecules, depth, strict=True)
    )
    names = two_groups(counts, in_b).var_names
    shrunk = table.loc[names, "scores"].to_numpy() ** 2 / ratio
    assert 1 / np.median(shrunk) == pytest.approx(3, rel=0.1)


# Error rates


def with_group(adata, group):
    result = adata.copy()
    result.obs["group"] = group
    return result


def error_rates(adata, labels):
    """Share of p < 0.05, and share of comparisons with a finding, over five permutations."""
    rng = np.random.default_rng(0)
    shares, findings = [], []
    for _ in range(5):
        entry = ranked(with_group(adata, rng.permutation(labels)), "group").uns[KEY]
        for group in entry["pvals"].dtype.names:
            shares.append((entry["pvals"][group] < 0.05).mean())
            findings.append((entry["pvals_adj"][group] < 0.05).any())
    return np.mean(shares), np.mean(findings)


@pytest.mark.parametrize(
    "kind", ["CD56+ NK", "CD19+ B", "CD14+ Monocyte", "Dendritic", "CD4+/CD25 T Reg"]
)
def test_halves_of_one_population_do_not_differ(pbmc_counts, kind):
    adata = pbmc_counts[pbmc_counts.obs["bulk_labels"] == kind].copy()
    share, _ = error_rates(adata, np.where(np.arange(adata.n_obs) % 2, "a", "b"))
    assert 0.02 < share < 0.08


def test_permuted_labels_find_nothing(pbmc_counts):
    share, with_findings = error_rates(pbmc_counts, pbmc_counts.obs["bulk_labels"].astype(str))
    assert 0.02 < share < 0.08
    # 0.05 of the 50 comparisons, and two standard errors
    assert with_findings <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 50)


@pytest.mark.parametrize("n_small", [20, 100])
def test_a_small_group_against_a_large_one_does_not_differ(pbmc_counts, n_small):
    share, _ = error_rates(pbmc_counts, np.where(np.arange(700) < n_small, "few", "many"))
    assert 0.02 < share < 0.08


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_groups_that_differ_in_depth_alone_do_not_differ(pbmc_counts):
    rng = np.random.default_rng(0)
    thinned = rng.permutation(700) < 350
    counts = pbmc_counts.X.toarray().astype(int)
    counts[thinned] = rng.binomial(counts[thinned], 0.4)
    adata = two_groups(counts, thinned)
    table = by_gene(ranked(adata, "group"), "b")
    assert (table["pvals"] < 0.05).mean() < 0.08
    assert (table["pvals_adj"] < 0.05).sum() <= 2
    # What is usual finds differences that are none: this is why the test is of counts.
    usual = log_normalised(adata)
    sc.tl.rank_genes_groups(usual, "group", method="wilcoxon")
    assert (usual.uns[KEY]["pvals"]["b"] < 0.05).mean() > 0.2


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_two_fold_changes_are_found_and_few_others(seed):
    rng = np.random.default_rng(seed)
    base = rng.lognormal(size=1_000)
    means = np.repeat(2_000 * base[None] / base.sum(), 1_000, axis=0)
    in_b = np.arange(1_000) % 2 == 1
    planted = rng.choice(1_000, 30, replace=False)
    means[np.ix_(in_b, planted)] *= np.where(np.arange(30) % 2, 2, 0.5)
    means *= rng.lognormal(0, 0.4, (1_000, 1))
    counts = rng.poisson(means * rng.gamma(2, 0.5, means.shape))
    table = by_gene(ranked(two_groups(counts, in_b), "group"), "b")
    found = set(table.index[table["pvals_adj"] < 0.05])
    names = {f"GENE{number}" for number in planted}
    assert len(found & names) >= 25
    assert len(found - names) <= 15


def test_markers_of_real_populations_come_first(pbmc_counts):
    adata = ranked(pbmc_counts)
    assert {"CD79A", "MS4A1"} <= set(by_best(adata, "CD19+ B", 10))
    assert {"GNLY", "NKG7"} <= set(by_best(adata, "CD56+ NK", 10))
    assert "CD8B" in by_best(adata, "CD8+/CD45RA+ Naive Cytotoxic", 10)


def test_pvalues_do_not_depend_on_what_the_groups_are_called(cells, result):
    adata = cells.copy()
    adata.obs["number"] = pd.Categorical(adata.obs["bulk_labels"].cat.codes)
    renamed = ranked(adata, "number").uns[KEY]["pvals"]
    for code, name in enumerate(cells.obs["bulk_labels"].cat.categories):
        assert np.array_equal(renamed[str(code)], result.uns[KEY]["pvals"][name])


def test_scores_and_pvalues_say_the_same(result):
    """A t distribution with at least 20 degrees of freedom lies between these two."""
    table = by_gene(result, "CD34+")
    scores = table["scores"].abs().to_numpy(dtype=float)
    pvals = table["pvals"].to_numpy()
    assert (pvals >= 2 * stats.norm.sf(scores) * (1 - 1e-4)).all()
    assert (pvals <= 2 * stats.t.sf(scores, 20) * (1 + 1e-4)).all()


# Errors


@pytest.fixture
def wrong(cells):
    """Cells with columns and layers that a test can't take."""
    adata = cells.copy()
    adata.obs["one"] = "all"
    adata.obs["single"] = np.where(np.arange(adata.n_obs) == 3, "alone", "others")
    adata.uns["own"] = {"kept": 1}
    impute(adata, bulk=None, max_epochs=0, scale="counts", genes=["CD79A", "LYZ"])
    adata.layers["scdtl_std"] = adata.layers["scdtl"]
    return adata


ERRORS = {
    "log-normalised layer": (("bulk_labels",), {"layer": "log"}, ValueError, "log-normalised"),
    "imputed layer": (("bulk_labels",), {"layer": "scdtl"}, ValueError, "by scdtl.pp.impute"),
    "standard deviations": (("bulk_labels",), {"layer": "scdtl_std"}, ValueError, "pp.impute"),
    "raw that is none": (("bulk_labels",), {"use_raw": True}, ValueError, "no adata.raw"),
    "mask of a missing column": (
        ("bulk_labels",),
        {"mask_var": "hvg"},
        KeyError,
        "'hvg'.*scdtl_trust",
    ),
    "mask of numbers": (
        ("bulk_labels",),
        {"mask_var": "scdtl_trust"},
        ValueError,
        "must be boolean",
    ),
    "mask too short": (("bulk_labels",), {"mask_var": [True]}, ValueError, "1 values for 765"),
    "empty mask": (("bulk_labels",), {"mask_var": [False] * 765}, ValueError, "no gene to test"),
    "missing layer": (("bulk_labels",), {"layer": "spliced"}, KeyError, "spliced"),
    "unknown group": (("bulk_labels",), {"groups": ["CD3"]}, ValueError, "unknown group CD3"),
    "unknown reference": (("bulk_labels",), {"reference": "CD3"}, ValueError, "CD3"),
    "groups as one name": (("bulk_labels",), {"groups": "CD34+"}, ValueError, r"\['CD34\+'\]"),
    "missing column": (("louvain",), {}, KeyError, "louvain.*bulk_labels"),
    "one cell": (("single",), {}, ValueError, "'alone' and the rest have 1 and 267 cells"),
    "one group": (("one",), {}, ValueError, "1 group"),
    "unknown correction": (("bulk_labels",), {"corr_method": "holm"}, ValueError, "holm"),
}


@pytest.mark.parametrize(("words", "options", "kind", "message"), ERRORS.values(), ids=ERRORS)
def test_an_error_leaves_adata_as_it_was(wrong, words, options, kind, message):
    before = wrong.copy()
    with pytest.raises(kind, match=message):
        rank_genes_groups(wrong, *words, **options)
    assert KEY not in wrong.uns
    assert set(wrong.uns) == set(before.uns)
    pd.testing.assert_frame_equal(wrong.obs, before.obs)
    pd.testing.assert_frame_equal(wrong.var, before.var)
    assert set(wrong.layers) == set(before.layers)
    for name in (None, *wrong.layers):
        old, new = (x.X if name is None else x.layers[name] for x in (before, wrong))
        assert (old != new).nnz == 0


def test_raw_without_counts_is_refused_and_the_way_out_works(cells, result):
    adata = cells.copy()
    adata.raw = log_normalised(cells)
    with pytest.raises(ValueError, match=r"adata\.raw\.X .*log-normalised.*leave use_raw out"):
        rank_genes_groups(adata, "bulk_labels", use_raw=True)
    with pytest.raises(ValueError, match="use_raw=True and layer='counts' exclude each other"):
        rank_genes_groups(adata, "bulk_labels", use_raw=True, layer="counts")
    assert KEY not in adata.uns
    for options in ({}, {"layer": "counts"}):
        pd.testing.assert_frame_equal(
            by_gene(ranked(adata, **options), "CD34+"),
            by_gene(result, "CD34+")[["scores", "logfoldchanges", "pvals", "pvals_adj"]],
        )


def test_a_group_of_cells_without_counts_is_refused(cells):
    adata = cells.copy()
    dense = adata.X.toarray()
    dense[(adata.obs["bulk_labels"] == "CD34+").to_numpy()] = 0
    adata.X = sparse.csr_matrix(dense)
    with pytest.raises(ValueError, match=r"'CD34\+' and the rest have 0"):
        rank_genes_groups(adata, "bulk_labels")
    some = ranked(adata, groups=["CD19+ B"])
    without = adata[adata.obs["bulk_labels"] != "CD34+"].copy()
    pd.testing.assert_frame_equal(by_gene(some, "CD19+ B"), by_gene(ranked(without), "CD19+ B"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": []}, "no group to test"),
        ({"groups": ["rest"]}, "unknown group rest"),
        ({"groups": ["a"], "reference": "a"}, "no group to test"),
        ({"n_genes": 0}, "n_genes must be"),
    ],
)
def test_groups_that_leave_nothing_to_test_are_refused(options, message):
    adata = toy()
    adata.obs["group"] = np.repeat(["a", "b", "c"], 20)
    with pytest.raises(ValueError, match=message):
        rank_genes_groups(adata, "group", **options)
    assert "rank_genes_groups" not in adata.uns


def test_a_group_called_rest_is_tested_as_well():
    adata = toy()
    adata.obs["group"] = np.repeat(["b", "c", "rest"], 20)
    rank_genes_groups(adata, "group")
    assert adata.uns["rank_genes_groups"]["names"].dtype.names == ("b", "c", "rest")
