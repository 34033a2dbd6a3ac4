"""Numbers and statements in the text of the pages, each from the CSV files that it names.

A claim is a function. Its name is the mark in the text, its arguments are the CSV files that it
reads, its docstring says what is computed. It returns the number as text, or whether the statement
holds. Means are over seeds, then over data sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from _summary_tables import POSTERIOR, PUBLISHED, hidden, masked, of_human, of_methods
from _tables import OWN

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    Claim = Callable[..., str | bool]

CLAIMS: dict[str, Claim] = {}
SCDTL, NO_BULK = OWN
TRUE_SCENARIOS = ("planted", "markers")


def claim(function: Claim) -> Claim:
    """Its name becomes a mark."""
    CLAIMS[function.__name__] = function
    return function


# The first figure, and cells of the same type


@claim
def spleen_molecules(neighbours: pd.DataFrame) -> str:
    """Median molecules of a cell of the first figure, the first of three draws."""
    is_drawn = (neighbours["dataset"] == SPLEEN) & (neighbours["cells"] == "300")
    drawn = neighbours[is_drawn & (neighbours["seed"] == 0)]
    return f"{drawn['molecules'].iloc[0]:.0f}"


@claim
def neighbours_raw(neighbours: pd.DataFrame) -> str:
    """Neighbours of a cell's own type in 300 cells of spleen by the raw counts, in %."""
    return f"{_same_type(neighbours, SPLEEN).loc['300', 'observed']:.0f}"


@claim
def neighbours_no_bulk(neighbours: pd.DataFrame) -> str:
    """The same after imputation without bulk."""
    return f"{_same_type(neighbours, SPLEEN).loc['300', NO_BULK]:.0f}"


@claim
def neighbours_imputed(neighbours: pd.DataFrame) -> str:
    """The same after imputation."""
    return f"{_same_type(neighbours, SPLEEN).loc['300', SCDTL]:.0f}"


@claim
def neighbours_best_peer(neighbours: pd.DataFrame) -> str:
    """The same after the best of the other methods."""
    shares = _peers(_same_type(neighbours, SPLEEN).loc["300"])
    return f"{shares.drop(['observed', LATENT]).max():.0f}"


@claim
def bulk_hardly_matters_to_sorted_blood(neighbours: pd.DataFrame) -> bool:
    """In sorted blood cells bulk changes the share by less than 1.5 points, at any number."""
    shares = _same_type(neighbours, "pbmc_sorted_10x")
    return bool((shares[SCDTL] - shares[NO_BULK]).abs().max() < 1.5)


@claim
def reads_gain_no_neighbours(neighbours: pd.DataFrame) -> bool:
    """On Pollen's reads the layer is within 1 point of raw counts."""
    means = _same_type(neighbours, READS).mean()
    return bool(abs(means[SCDTL] - means["observed"]) < 1)


@claim
def latent_is_best_on_reads(neighbours: pd.DataFrame) -> bool:
    """On Pollen's reads the latent has the highest share of all."""
    return _same_type(neighbours, READS).mean().idxmax() == LATENT


@claim
def neighbours_of_100_cells(neighbours: pd.DataFrame) -> str:
    """Mean over data sets of 100 cells, in %."""
    return f"{_of_100_cells(neighbours)[SCDTL]:.0f}"


@claim
def neighbours_of_100_cells_latent(neighbours: pd.DataFrame) -> str:
    """The same in the latent."""
    return f"{_of_100_cells(neighbours)[LATENT]:.0f}"


@claim
def neighbours_of_100_cells_best(neighbours: pd.DataFrame) -> str:
    """The same by the best layer, which is ALRA's."""
    means = _of_100_cells(neighbours).drop(LATENT)
    return f"{means.max():.0f}" if means.idxmax() == "alra" else "another method's"


# UMIs


@claim
def gene_d2(accuracy: pd.DataFrame) -> str:
    """Mean gene D² of scdtl, all cells."""
    return f"{_d2(accuracy, 'all')[SCDTL]:.3f}"


@claim
def gene_d2_no_bulk(accuracy: pd.DataFrame) -> str:
    """Mean gene D² of scdtl without bulk, all cells."""
    return f"{_d2(accuracy, 'all')[NO_BULK]:.3f}"


@claim
def gene_d2_few(accuracy: pd.DataFrame) -> str:
    """Mean gene D² of scdtl, 100 cells."""
    return f"{_d2(accuracy, '100')[SCDTL]:.3f}"


@claim
def gene_d2_few_no_bulk(accuracy: pd.DataFrame) -> str:
    """Mean gene D² of scdtl without bulk, 100 cells."""
    return f"{_d2(accuracy, '100')[NO_BULK]:.3f}"


@claim
def gene_d2_best_peer(accuracy: pd.DataFrame) -> str:
    """Highest mean gene D² of another method with posterior, all cells."""
    return f"{_peers(_d2(accuracy, 'all')).max():.3f}"


@claim
def best_on_average(accuracy: pd.DataFrame) -> bool:
    """Mean gene D² and Poisson score of scdtl above those of all other methods, all cells."""
    whole = accuracy[accuracy["cells"] == "all"]
    return all(_scdtl_leads(whole, score) for score in ("gene_d2", "poisson_score"))


@claim
def best_peer_is_cellmapper(accuracy: pd.DataFrame) -> bool:
    """CellMapper has the highest mean gene D² of other methods with posterior, all cells."""
    return _peers(_d2(accuracy, "all")).idxmax() == "cellmapper"


@claim
def posterior_helps(accuracy: pd.DataFrame) -> bool:
    """Mean gene D² and Poisson score of every method are higher with posterior, at any number."""
    return all(
        _peers(of_methods(rows, score, POSTERIOR) > of_methods(rows, score, PUBLISHED)).all()
        for _, rows in accuracy.groupby("cells")
        for score in ("gene_d2", "poisson_score")
    )


@claim
def mean_profile_passes(accuracy: pd.DataFrame) -> bool:
    """Mean profile with posterior above most other methods as published, gene D², all cells."""
    whole = accuracy[accuracy["cells"] == "all"]
    published = _peers(of_methods(whole, "gene_d2", PUBLISHED)).drop("mean")
    return bool((published < _d2(accuracy, "all")["mean"]).mean() > 0.5)


@claim
def deep_r(downsampling: pd.DataFrame) -> str:
    """Gene r of scdtl."""
    return f"{of_methods(downsampling, 'gene_r', POSTERIOR)[SCDTL]:.3f}"


@claim
def deep_r_best_peer(downsampling: pd.DataFrame) -> str:
    """Highest gene r of another method with posterior."""
    return f"{_peers(of_methods(downsampling, 'gene_r', POSTERIOR)).max():.3f}"


@claim
def bulk_helps_most_with_few_cells(transfer: pd.DataFrame) -> bool:
    """Mean gain in gene D² of the default start falls with the number of cells."""
    scores = transfer.pivot_table(
        index=["cells", "dataset", "seed"], columns="line", values="gene_d2"
    )
    gain = scores["start, MMD"] - scores["no bulk"]
    by_dataset = gain.groupby(level=["cells", "dataset"]).mean()
    means = by_dataset.groupby(level="cells").mean()
    return bool(means.set_axis(means.index.astype(int)).sort_index().is_monotonic_decreasing)


# Entries, reads, genes


@claim
def masked_rmse(masking: pd.DataFrame) -> str:
    """Mean RMSE of scdtl at masked values, zero-truncated, 30 % masked."""
    return f"{masked(masking, 'rmse')[SCDTL]:.3f}"


@claim
def masked_rmse_best_peer(masking: pd.DataFrame) -> str:
    """Lowest mean RMSE of another method at masked values, zero-truncated, 30 % masked."""
    return f"{_peers(masked(masking, 'rmse')).min():.3f}"


@claim
def cellmapper_restores_as_well(masking: pd.DataFrame) -> bool:
    """Mean RMSE of CellMapper and scdtl differ by less than .005, 30 % of the values masked."""
    rmse = masked(masking, "rmse")
    return abs(rmse["cellmapper"] - rmse[SCDTL]) < 0.005


@claim
def hidden_r(reads: pd.DataFrame) -> str:
    """Mean r of scdtl at hidden entries, from the other genes alone."""
    return f"{hidden(reads, 'r')[SCDTL]:.3f}"


@claim
def hidden_r_best_peer(reads: pd.DataFrame) -> str:
    """Highest mean r of another method at hidden entries."""
    return f"{_peers(hidden(reads, 'r')).max():.3f}"


@claim
def unmeasured_r(unmeasured: pd.DataFrame) -> str:
    """Median r over genes, mean over the human data sets."""
    return f"{of_human(unmeasured)['median_r']:.2f}"


@claim
def unmeasured_ceiling(unmeasured: pd.DataFrame) -> str:
    """Median r over genes if they are measured, mean over the human data sets."""
    return f"{of_human(unmeasured)['ceiling']:.2f}"


# Cells, tests, trust


@claim
def equal_ari(clustering: pd.DataFrame) -> str:
    """Mean ARI at as many clusters as labels, PCA of scdtl's rates."""
    return f"{_ari(clustering)[SCDTL]:.2f}"


@claim
def equal_ari_raw(clustering: pd.DataFrame) -> str:
    """Mean ARI at as many clusters as labels, PCA of raw counts."""
    return f"{_ari(clustering)['observed']:.2f}"


@claim
def clusters_no_better(clustering: pd.DataFrame) -> bool:
    """Mean ARI at as many clusters as labels: scdtl at most 0.02 above raw counts."""
    ari = _ari(clustering)
    return bool(ari[SCDTL] <= ari["observed"] + 0.02)


@claim
def layers_give_false_genes(false_signals: pd.DataFrame) -> bool:
    """At least 100 false genes in every planted scenario, for every imputed layer."""
    planted = false_signals[false_signals["scenario"].str.startswith("planted")]
    false = planted.groupby(["test", "scenario"])["false_found"].mean().unstack()
    return bool((false.loc[[f"Wilcoxon, {x}" for x in LAYERS]] >= 100).all(axis=None))


@claim
def draws_give_false_genes(false_signals: pd.DataFrame) -> bool:
    """At least 100 false genes in every planted scenario, for one draw from the posterior."""
    planted = false_signals[false_signals["scenario"].str.startswith("planted")]
    draws = planted[planted["test"] == "Wilcoxon, one posterior draw"]
    return bool((draws.groupby("scenario")["false_found"].mean() >= 100).all())


@claim
def test_finds_more(false_signals: pd.DataFrame) -> bool:
    """More genes found at 5 % false than by Wilcoxon on raw counts, planted and markers."""
    scenario = false_signals["scenario"]
    chosen = false_signals[scenario.str.startswith(TRUE_SCENARIOS)]
    found = chosen.groupby(["scenario", "test"])["found_at_5"].mean().unstack()
    return bool((found["scdtl test, raw"] > found["Wilcoxon, raw"]).all())


@claim
def other_tests_fail_where_groups_differ(false_signals: pd.DataFrame) -> bool:
    """Over 10 % false: Wilcoxon at 40 % of the depth, t-test at 15 % against 85 %; not scdtl's."""
    sums = false_signals.groupby(["scenario", "test"])[["found", "false_found"]].sum()
    rate = sums["false_found"] / sums.sum(axis=1)
    depth, small = "planted, 40 % of the depth", "planted, 15 % against 85 %"
    others = [rate[depth, "Wilcoxon, raw"], rate[small, "t-test, raw"]]
    own = [rate[scenario, "scdtl test, raw"] for scenario in (depth, small)]
    return min(others) > 0.1 > max(own)


@claim
def coverage_off(trust_coverage: pd.DataFrame) -> str:
    """Largest difference from nominal, a tenth of the molecules held out, in percentage points."""
    return f"{_coverage_off(trust_coverage, 0.1):.1f}"


@claim
def coverage_off_half(trust_coverage: pd.DataFrame) -> str:
    """Largest difference from nominal, half of the molecules held out, in percentage points."""
    return f"{_coverage_off(trust_coverage, 0.5):.1f}"


@claim
def trusted_better(trust_genes: pd.DataFrame) -> str:
    """Share of trusted genes predicted better than by the mean, unseen molecules, in %."""
    return f"{100 * trust_genes.groupby('dataset')['better_if_trusted'].mean().mean():.0f}"


@claim
def trusted_by_more(trust_genes: pd.DataFrame) -> bool:
    """Mean gene D² of unseen molecules above that of the other genes, in every data set."""
    means = trust_genes.groupby("dataset")[["d2_if_trusted", "d2_if_not"]].mean()
    return bool((means["d2_if_trusted"] > means["d2_if_not"]).all())


@claim
def untrusted_better(trust_genes: pd.DataFrame) -> str:
    """The same share of genes that are not trusted, in %."""
    return f"{100 * trust_genes.groupby('dataset')['better_if_not'].mean().mean():.0f}"


# Ablation


@claim
def mmd_changes_little(ablation: pd.DataFrame) -> bool:
    """Mean gene D² with and without MMD differ by less than 0.001, at any number of cells."""
    return bool((_worth(ablation)["without MMD"].abs() < 0.001).all())


@claim
def posterior_is_worth_most(ablation: pd.DataFrame) -> bool:
    """No other part costs as much gene D² when it is left out."""
    worth = _worth(ablation)
    others = worth.drop(columns="without posterior").max(axis=1)
    return bool((others < worth["without posterior"]).all())


# Parts

LAYERS = ("scdtl layer", "MAGIC", "kNN-smoothing 15", "ALRA")


def _d2(accuracy: pd.DataFrame, cells: str) -> pd.Series:
    return of_methods(accuracy[accuracy["cells"] == cells], "gene_d2", POSTERIOR)


LATENT = "scdtl-latent"
SPLEEN, READS = "mouse_spleen_mca", "pollen_11types_smarter"


def _same_type(neighbours: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Shares of a data set in %, numbers of cells × methods, means of draws."""
    rows = neighbours[neighbours["dataset"] == dataset]
    return 100 * rows.pivot_table(index="cells", columns="method", values="same_type")


def _of_100_cells(neighbours: pd.DataFrame) -> pd.Series:
    return 100 * neighbours[neighbours["cells"] == "100"].groupby("method")["same_type"].mean()


def _ari(clustering: pd.DataFrame) -> pd.Series:
    return of_methods(clustering, "equal_ari", "PCA", own="PCA")


def _worth(ablation: pd.DataFrame) -> pd.DataFrame:
    """Loss of mean gene D² by number of cells, where a part is left out."""
    means = ablation.groupby(["cells", "dataset", "method"])["gene_d2"].mean()
    means = means.groupby(level=["cells", "method"]).mean().unstack()
    return means.rsub(means["full"], axis=0).drop(columns="full")


def _coverage_off(coverage: pd.DataFrame, held_out: float) -> float:
    levels = [column for column in coverage if column.endswith("%")]
    rows = coverage[coverage["held_out"] == held_out]
    means = rows.groupby(["dataset", "from"])[levels].mean()
    nominal = [float(level[:-1]) / 100 for level in levels]
    return 100 * (means - nominal).abs().max(axis=None)


def _peers(scores: pd.Series) -> pd.Series:
    return scores.drop([SCDTL, NO_BULK])


def _scdtl_leads(rows: pd.DataFrame, score: str) -> bool:
    scores = of_methods(rows, score, POSTERIOR)
    return bool(scores[SCDTL] > _peers(scores).max())
