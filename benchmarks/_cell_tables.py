"""Tables of the benchmarks that know the truth of cells: labels, bulk, markers, tests, trust."""

from __future__ import annotations

import pandas as pd
from _tables import LINE, METHODS, as_markdown, as_texts, by_cells, named, side_by_side

LABEL_SCORES = {
    "equal_ari": "ARI at as many clusters as labels",
    "ari": "ARI of Leiden clusters, mean over resolutions",
    "nmi": "NMI of Leiden clusters, mean over resolutions",
    "best_ari": "ARI at the best resolution, chosen with the labels in view",
    "knn_accuracy": "Accuracy of 15 neighbours",
    "silhouette": "Silhouette of the labels",
}
BULK_TABLES = {
    "immune_sorted_gse60424": "PBMC sorted, GSE60424",
    "hematopoietic_sorted": "PBMC sorted, haematopoiesis",
    "encode_4_cell_lines": "Pollen, ENCODE",
    "bluecode_celltypes": "Pollen, BlueCode",
}
BULK_SCORES = {
    "special_pearson": "Pearson r of what is special to a type",
    "special_spearman": "Spearman r of what is special to a type",
    "profile_pearson": "Pearson r of whole profiles",
    "profile_spearman": "Spearman r of whole profiles",
}


def clustering(rows: pd.DataFrame) -> str:
    """Scores of `clustering.py`: mean over seeds ± standard deviation, difference to raw PCA."""
    rows = named(rows)
    parts = []
    for score, name in LABEL_SCORES.items():
        values = rows.pivot_table(
            index=LINE, columns=["dataset", "seed"], values=score, sort=False
        )
        means = values.T.groupby(level="dataset", sort=False).mean().T
        deviations = values.T.groupby(level="dataset", sort=False).std().T
        texts = as_texts(means).rename(index={"no denoising": "raw counts"})
        for column in texts:
            spread = deviations[column].map(" ± {:.3f}".format, na_action="ignore").fillna("")
            texts[column] = texts[column].to_numpy() + spread.to_numpy()
        to_raw = means.sub(means.xs("observed", level="method").iloc[0]).mean(axis=1)
        texts["mean difference to raw PCA"] = to_raw.map("{:+.3f}".format).to_numpy()
        parts += [f"**{name}**", as_markdown(texts.rename_axis(columns=None))]
    return "\n\n".join(parts) + "\n"


def neighbours(rows: pd.DataFrame) -> str:
    """Shares of `neighbours.py` by data set, and their means over cells and over types."""
    parts = []
    for title, of_number in by_cells(named(rows)):
        means = side_by_side(of_number, "same_type", ["method"])
        of_types = side_by_side(of_number, "same_of_a_type", ["method"])
        means = means.assign(mean=means.mean(axis=1), **{"mean, by type": of_types.mean(axis=1)})
        texts = as_texts(means).rename(index={"no denoising": "raw counts"})
        parts += [f"**{title}**", as_markdown(texts)]
    return "\n\n".join(parts) + "\n"


def agreement(rows: pd.DataFrame) -> str:
    """Correlations with bulk and average precision of markers of `agreement.py`."""
    parts = []
    bulk, markers = rows[rows["part"] == "bulk"], rows[rows["part"] == "markers"]
    if len(bulk):
        bulk = bulk.assign(dataset=bulk["bulk"].replace(BULK_TABLES))
        for score, name in BULK_SCORES.items():
            parts += [f"**{name}**", as_markdown(as_texts(side_by_side(bulk, score, LINE)))]
    if len(markers):
        means = side_by_side(named(markers), "average_precision", LINE)
        chance = named(markers).groupby("dataset")["chance"].mean()
        means.loc[("a random order", ""), :] = chance
        parts += ["**Average precision of markers**", as_markdown(as_texts(means))]
    return "\n\n".join(parts) + "\n"


def false_signals(rows: pd.DataFrame) -> str:
    """True and false discoveries of `false_signals.py`, one table per scenario."""
    parts = []
    for scenario, group in rows.groupby("scenario", sort=False):
        columns = ["found", "false_found", "found_at_5", "small_p"]
        means = group.groupby("test", sort=False)[columns].mean()
        draws = group.groupby("test", sort=False).size()
        differ = group["genes_that_differ"].mean()
        texts = pd.DataFrame(
            {
                "found": means["found"].map("{:.1f}".format),
                "false": means["false_found"].map("{:.1f}".format),
                "found at 5 % false": means["found_at_5"].map("{:.1f}".format),
                "p < 0.05 without difference": means["small_p"].map("{:.1%}".format),
                "draws": draws,
            }
        )
        if not differ:
            texts = texts.drop(columns=["found", "found at 5 % false"])
        parts += [f"**{scenario}** ({differ:.0f} genes differ)", as_markdown(texts)]
    return "\n\n".join(parts) + "\n"


def trust(coverage: pd.DataFrame, genes: pd.DataFrame, silent: pd.DataFrame) -> str:
    """Coverage, trusted genes and silent genes of `trust.py`."""
    coverage = named(coverage)
    levels = [column for column in coverage if column.endswith("%")]
    parts = []
    for share, group in coverage.groupby("held_out", sort=False):
        strata = group.groupby("from")[levels].mean()
        strata.index = [
            f"{low:g} to {high:g}" if high < float("inf") else f"{low:g} and more"
            for low, high in group.groupby("from")["to"].first().items()
        ]
        title = f"**Held-out counts inside central intervals, {share:.0%} of molecules held out**"
        texts = strata.rename_axis("predicted count").map("{:.1%}".format)
        parts += [title, as_markdown(texts)]
        by_stratum = group.groupby(["dataset", "from"], sort=False)[levels].mean()
        nominal = pd.Series({level: float(level[:-1]) / 100 for level in levels})
        worst = (by_stratum - nominal).abs().groupby("dataset", sort=False).max()
        title = f"**Largest difference from nominal in any stratum, {share:.0%} held out**"
        parts += [title, as_markdown((100 * worst).map("{:.1f} points".format))]
    genes = named(genes).groupby("dataset", sort=False).mean(numeric_only=True)
    names = {
        "trusted": "trusted",
        "better_if_trusted": "trusted: better than the mean",
        "better_if_not": "not trusted: better than the mean",
    }
    texts = genes[list(names)].map("{:.1%}".format).rename(columns=names)
    texts["gene D², trusted"] = genes["d2_if_trusted"].map("{:.3f}".format)
    texts["gene D², not trusted"] = genes["d2_if_not"].map("{:.3f}".format)
    texts["rank correlation"] = genes["rank_correlation"].map("{:.2f}".format)
    parts += ["**Trust against unseen molecules**", as_markdown(texts)]
    cost = genes[["lost_per_gene", "lost"]].map("{:.1%}".format)
    cost.columns = ["of a gene's unseen molecules, mean", "of all unseen molecules"]
    parts += ["**What exact zeros cost at `false_zero_rate=0.05`**", as_markdown(cost)]
    silent = named(silent)
    columns = {
        "median_share": "median share of the active rate",
        "upper_share": "90th percentile",
        "exact_zeros": "exact zeros",
        "layer_zeros": "zeros in the layer",
    }
    for dataset, group in silent.groupby("dataset", sort=False):
        means = group.groupby("method", sort=False)[list(columns)].mean()
        texts = means.map("{:.1%}".format).rename(columns=columns, index=METHODS)
        n = group["silent"].iloc[0]
        parts += [f"**Silent genes, {dataset}** ({n} pairs of gene and kind)", as_markdown(texts)]
    return "\n\n".join(parts) + "\n"
