"""From rows of the benchmarks to Markdown: means over seeds, data sets side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator

DATASETS = {
    "pbmc1k_v3_10x": "PBMC 1k",
    "pbmc_sorted_10x": "PBMC sorted",
    "mixology_5cl_celseq2": "mixology",
    "jurkat_293t_10x": "Jurkat/293T",
    "baron_saver_ref": "Baron",
    "pollen_11types_smarter": "Pollen",
    "pollen2014_lines": "Pollen, lines",
    "darmanis2015_brain": "Darmanis",
    "deng2014": "Deng",
    "mahata2014_th2": "Mahata",
    "ziegenhain2017_mesc": "Ziegenhain",
}
METHODS = {
    "observed": "no denoising",
    "gene-mean": "gene mean of non-zeros",
    "detection": "detection rates of gene and cell",
    "mean": "mean profile",
    "mean-of-logs": "mean of logs",
    "knn-smoothing-15": "kNN-smoothing 15",
    "knn-smoothing-30": "kNN-smoothing 30",
    "neighbour-sum-15": "neighbour sum 15",
    "neighbour-sum-30": "neighbour sum 30",
    "magic": "MAGIC",
    "magic-auto": "MAGIC, t auto",
    "magic-logs": "MAGIC on logs",
    "cellmapper": "CellMapper",
    "alra": "ALRA",
    "recode": "RECODE",
    "scvi-30": "scVI, 30 epochs",
    "scvi-default": "scVI, default epochs",
    "scvi-30-zinb": "scVI, ZINB, 30 epochs",
    "scdtl-no-bulk": "scdtl without bulk",
    "scdtl": "scdtl",
    "scdtl-umi": "scdtl, reads taken for UMIs",
}
SCORES = {
    "poisson_score": "Poisson score",
    "gene_d2": "gene D²",
    "mse_score": "MSE score of the rates",
    "mse_score_expected": "MSE score, expected",
}
OPENPROBLEMS = {
    "openproblems_poisson": "Poisson",
    "openproblems_mse": "MSE",
}
GAMED = (" × 1e-6", " ^ 1.3")
LABEL_SCORES = {
    "ari": "ARI of Leiden clusters, mean over resolutions",
    "nmi": "NMI of Leiden clusters, mean over resolutions",
    "equal_ari": "ARI at as many clusters as labels",
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
README_METHODS = {
    "scdtl": "scdtl",
    "scdtl-no-bulk": "scdtl without bulk",
    "mean": "mean profile",
    "neighbour-sum-30": "neighbours (30)",
    "knn-smoothing-30": "kNN-smoothing (30)",
    "magic": "MAGIC",
    "cellmapper": "CellMapper",
    "alra": "ALRA",
    "scvi-30": "scVI, 30 epochs",
}
README_LEAVES_OUT = [
    ("mean", "as published"),
    ("neighbour-sum-30", "as published"),
    ("alra", "with posterior"),
]
MAIN_SCORES = ["poisson_score", "gene_d2", "mse_score_expected"]
STEPS = ["bare", "dae", "full", "scvi"]
LINE = ["method", "line"]
OWN = ("scdtl", "scdtl-no-bulk")
NO_BULK, DEFAULT_TRANSFER = "no bulk", "start, MMD"


def as_markdown(cells: pd.DataFrame) -> str:
    """Write a table of texts; the index comes first."""
    header = [*map(str, cells.index.names), *map(str, cells.columns)]
    rows = [header, ["---"] * len(header)]
    for index, texts in zip(cells.index, cells.values, strict=True):
        rows.append([*(index if isinstance(index, tuple) else (index,)), *texts])
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def accuracy(rows: pd.DataFrame) -> str:
    """Scores, leads and costs of `accuracy.py`."""
    rows = named(rows)
    parts = []
    for title, group in _by_cells(rows):
        for score, name in SCORES.items():
            means = side_by_side(group, score, LINE)
            parts += [f"**{name}, {title}**", as_markdown(as_texts(means))]
        parts += _openproblems(group, title)
    if set(OWN) < set(rows["method"]):
        for score in MAIN_SCORES:
            parts += [f"**Lead in {SCORES[score]}**", as_markdown(leads(rows, score))]
    for title, group in _by_cells(rows):
        for cost, name in (
            ("seconds", "Seconds"),
            ("train_seconds", "Seconds in training"),
            ("added_mb", "Memory beyond libraries and data, MB"),
        ):
            means = side_by_side(group, cost, ["method"]).dropna(how="all")
            digits = 0 if cost == "added_mb" else 1
            parts += [f"**{name}, {title}**", as_markdown(as_texts(means, digits, best=False))]
    return "\n\n".join(parts) + "\n"


def readme(rows: pd.DataFrame) -> str:
    """Poisson score / gene D² of `accuracy.py` with all cells, for the README."""
    rows = rows[rows["cells"] == "all"]
    means = rows.pivot_table(
        index=LINE, columns="dataset", values=["poisson_score", "gene_d2"], sort=False
    )
    lines = {
        f"{label} + posterior" if line == "with posterior" else label: means.loc[method, line]
        for method, label in README_METHODS.items()
        for line in means.loc[method].index
        if (method, line) not in README_LEAVES_OUT
    }
    texts = {
        label: {
            DATASETS[name]: f"{line['poisson_score', name]:.3f} / {line['gene_d2', name]:.3f}"
            for name in rows["dataset"].unique()
        }
        for label, line in lines.items()
    }
    table = pd.DataFrame.from_dict(texts, orient="index")
    return as_markdown(table.rename_axis("all cells")) + "\n"


def leads(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Differences of scdtl in the same split: mean over seeds, and the range."""
    table = {}
    for labels, group in rows.groupby(["cells", "dataset"], sort=False):
        by_line = group.pivot_table(index="seed", columns=LINE, values=score, sort=False)
        scdtl, no_bulk = (by_line[method].iloc[:, 0] for method in OWN)
        peers = by_line.drop(columns=list(OWN), level="method")
        best = peers.mean().idxmax()
        table[labels] = {
            "best peer": f"{METHODS.get(best[0], best[0])}, {best[1]}",
            "scdtl beyond it": _difference(scdtl - peers[best]),
            "scdtl beyond scdtl without bulk": _difference(scdtl - no_bulk),
        }
    result = pd.DataFrame.from_dict(table, orient="index")
    result.index = result.index.set_names(["cells", "data set"])
    return result


def downsampling(rows: pd.DataFrame) -> str:
    """Correlations of `downsampling.py`."""
    names = {
        "gene_r": "gene r",
        "cell_r": "cell r",
        "gene_r_expected": "gene r, expected",
        "cell_r_expected": "cell r, expected",
        "gene_gene_error": "gene–gene error",
    }
    means = rows.groupby(LINE, sort=False)[list(names)].mean()
    error = means[["gene_gene_error"]]
    texts = as_texts(means).assign(gene_gene_error=as_texts(error, lowest=True))
    return as_markdown(texts.rename(columns=names)) + "\n"


def clustering(rows: pd.DataFrame) -> str:
    """Scores of `clustering.py`: mean over seeds ± standard deviation, difference to raw PCA."""
    rows = named(rows)
    parts = []
    for score, name in LABEL_SCORES.items():
        values = rows.pivot_table(
            index=LINE, columns=["dataset", "seed"], values=score, sort=False
        )
        scdtl = values[values.index.get_level_values("method") == "scdtl"].dropna(axis=1)
        if scdtl.size:  # in each data set the one that is better on average
            by_dataset = scdtl.T.groupby(level="dataset", sort=False)
            better = [group.loc[:, group.mean().idxmax()] for _, group in by_dataset]
            values.loc[("scdtl", "better of the two"), :] = pd.concat(better)
        means = values.T.groupby(level="dataset", sort=False).mean().T
        deviations = values.T.groupby(level="dataset", sort=False).std().fillna(0).T
        texts = as_texts(means).rename(index={"no denoising": "raw counts"})
        for column in texts:
            spread = deviations[column].map(" ± {:.3f}".format).where(means[column].notna(), "")
            texts[column] = texts[column].to_numpy() + spread.to_numpy()
        to_raw = means.sub(means.xs("observed", level="method").iloc[0]).mean(axis=1)
        texts["mean difference to raw PCA"] = to_raw.map("{:+.3f}".format).to_numpy()
        parts += [f"**{name}**", as_markdown(texts.rename_axis(columns=None))]
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


def ablation(rows: pd.DataFrame) -> str:
    """Scores and seconds of `ablation.py`, and the mean difference to the full model."""
    parts = []
    for title, group in _by_cells(named(rows)):
        for column in [*MAIN_SCORES, "seconds"]:
            digits = 1 if column == "seconds" else 3
            means = side_by_side(group, column, ["method"])
            table = as_texts(means, digits, best=column != "seconds")
            difference = means.sub(means.loc["full"], axis=1).mean(axis=1)
            table["mean difference to full"] = [f"{d:+.{digits + 1}f}" for d in difference]
            name = SCORES.get(column, column.capitalize())
            parts += [f"**{name}, {title}**", as_markdown(table.rename_axis("variant"))]
    return "\n\n".join(parts) + "\n"


def step(rows: pd.DataFrame) -> str:
    """Medians of `step.py` and their ratios."""
    names = rows.drop_duplicates("step").set_index("step")["name"]
    order = [step for step in STEPS if step in names]
    table = rows.pivot(index="step", columns="loop", values="milliseconds").loc[order]
    table = table[list(dict.fromkeys(rows["loop"]))]
    texts = as_texts(table, digits=1, best=False)
    texts.index = names[order].rename("step")
    for below in ("dae", "bare"):
        # The bare products have no loop of scvi-tools: their plain time stands in.
        ratio = table.loc["full"] / table.loc[below].fillna(table.loc[below].max())
        texts.loc[f"ratio: {names['full']} / {names[below]}"] = [f"{r:.2f}" for r in ratio]
    facts = rows.iloc[0]
    return (
        f"Milliseconds per step, medians of at least {facts['repeats']:.0f}: "
        f"{facts['minibatch']:.0f} cells × {facts['genes']:.0f} genes, "
        f"{facts['nonzero']:.0%} non-zero, {facts['threads']:.0f} threads.\n\n"
        f"{as_markdown(texts)}\n"
    )


SCALE_METHODS = {
    "zero-shot": "scdtl, no training",
    "scdtl": "scdtl",
    "store-zero": "scdtl, no training, file to zarr",
    "store": "scdtl, file to zarr",
    "magic": "MAGIC",
    "alra": "ALRA",
    "scvi-30": "scVI, 30 epochs",
}


def scale(rows: pd.DataFrame) -> str:
    """Medians of `scale.py`: time and peak memory by cells, a table for each number of genes."""
    rows = rows.assign(cells=rows["cells"].astype(int))
    parts = []
    for n_genes, some in rows.groupby("genes", sort=False):
        order = [method for method in SCALE_METHODS if method in set(some["method"])]
        medians = some.groupby(["method", "cells"])[["seconds", "peak_mb"]].median()
        table = pd.DataFrame(index=[SCALE_METHODS[method] for method in order])
        for n_cells in sorted(set(some["cells"])):
            table[f"{n_cells:,} cells"] = [
                _time_and_memory(medians, method, n_cells) for method in order
            ]
        table.index.name = f"{n_genes:,} genes"
        parts.append(as_markdown(table))
        growth = medians.loc[medians["seconds"].notna()].reset_index()
        exponents = [
            f"{SCALE_METHODS[method]} {_growth(growth[growth['method'] == method]):.2f}"
            for method in order
            if growth["cells"][growth["method"] == method].nunique() > 1
        ]
        if exponents:
            parts.append(
                "Growth exponent of time, from the fewest to the most cells: "
                f"{', '.join(exponents)}."
            )
    return "\n\n".join(parts) + "\n"


def _time_and_memory(medians: pd.DataFrame, method: str, n_cells: int) -> str:
    if (method, n_cells) not in medians.index:
        return ""
    seconds, peak = medians.loc[(method, n_cells)]
    return "failed" if pd.isna(seconds) else f"{seconds:,.1f} s, {peak / 1024:.1f} GiB"


def _growth(rows: pd.DataFrame) -> float:
    ends = rows.sort_values("cells").iloc[[0, -1]]
    return float(np.diff(np.log(ends["seconds"]))[0] / np.diff(np.log(ends["cells"]))[0])


def transfer(rows: pd.DataFrame) -> str:
    """Gains over the run from scratch in the same draw, and how soon it is reached."""
    rows = named(rows)
    parts = []
    for score in ("gene_d2", "poisson_score"):
        values = rows.pivot_table(
            index=["line", "cells"], columns=["dataset", "seed"], values=score, sort=False
        )
        gain = values.sub(values.xs(NO_BULK, level="line"), level="cells")
        means = gain.T.groupby(level="dataset", sort=False).mean().T.drop(index=NO_BULK)
        table = means.map(lambda gain: "" if pd.isna(gain) else f"{gain:+.4f}")
        table["mean"] = [f"**{value:+.4f}**" for value in means.mean(axis=1)]
        table.index = table.index.set_names(["transfer", "cells"])
        title = f"**Gain in {SCORES[score]} over no bulk, mean over draws**"
        parts += [title, as_markdown(table.rename_axis(columns=None))]
    steps = rows[rows["line"].isin([NO_BULK, DEFAULT_TRANSFER])]
    table = steps.groupby(["line", "cells"], sort=False)[["steps", "steps_to_scratch"]].median()
    table.index = table.index.set_names(["transfer", "cells"])
    table.columns = ["steps to the best", "steps to the best of no bulk"]
    parts += ["**Steps of training, median**", as_markdown(table.map("{:.0f}".format))]
    draw = ["dataset", "cells", "seed"]
    shared = rows[rows.groupby(draw)["line"].transform("nunique") == rows["line"].nunique()]
    if len(shared):
        scores = shared.pivot_table(
            index=draw, columns="line", values=["gene_d2", "poisson_score"]
        )
        by_line = {SCORES[score]: scores[score] for score in ("gene_d2", "poisson_score")}
        gains = {
            name: values.sub(values[NO_BULK], axis=0).groupby("dataset").mean().mean()
            for name, values in by_line.items()
        }
        table = pd.DataFrame(gains).loc[rows["line"].unique()].drop(index=NO_BULK)
        cells = ", ".join(map(str, shared["cells"].unique()))
        parts.append(
            f"**Mean gain over data sets in the draws that all lines have, {cells} cells**"
        )
        parts.append(as_markdown(table.map("{:+.4f}".format).rename_axis("transfer")))
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


def trust(rows: dict[str, pd.DataFrame]) -> str:
    """Coverage, trusted genes and silent genes of `trust.py`."""
    coverage = named(rows["coverage"])
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
    genes = named(rows["genes"]).groupby("dataset", sort=False).mean(numeric_only=True)
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
    silent = named(rows["silent"])
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


# Parts of a table


def _openproblems(rows: pd.DataFrame, title: str) -> list[str]:
    """OpenProblems' metrics with scdtl's rates gamed in two ways; none if none was measured."""
    parts = []
    own = rows[rows["method"] == "scdtl"]
    for score, name in OPENPROBLEMS.items():
        if score not in rows or rows[score].isna().all():
            continue
        tables = [side_by_side(rows, score, LINE)]
        for suffix in GAMED:
            if len(own) and score + suffix in rows:
                means = side_by_side(own, score + suffix, LINE)
                tables.append(means.rename(index={"scdtl": "scdtl" + suffix}, level="method"))
        texts = as_texts(pd.concat(tables), best=False)
        heading = f"**OpenProblems' {name} as shipped (it flatters: see text), {title}**"
        parts += [heading, as_markdown(texts)]
    return parts


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with data sets by their short names."""
    return rows.assign(dataset=rows["dataset"].replace(DATASETS))


def _by_cells(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for n_cells, group in rows.groupby("cells", sort=False):
        yield ("all cells" if n_cells == "all" else f"{n_cells} cells"), group


def side_by_side(rows: pd.DataFrame, value: str, index: list[str]) -> pd.DataFrame:
    """Means over seeds, lines × data sets, both in the order of the rows."""
    means = rows.pivot_table(
        index=index, columns="dataset", values=value, sort=False, dropna=False, observed=True
    )
    present = list(dict.fromkeys(rows[index].itertuples(index=False, name=None)))
    keys = present if len(index) > 1 else [key for (key,) in present]
    return means.loc[keys, list(dict.fromkeys(rows["dataset"]))].rename_axis(columns=None)


def as_texts(
    means: pd.DataFrame, digits: int = 3, *, best: bool = True, lowest: bool = False
) -> pd.DataFrame:
    """Numbers as texts, the highest (or lowest) of each column bold, methods by their names."""
    texts = means.map(lambda value: "" if pd.isna(value) else f"{value:.{digits}f}")
    if best:
        for column in texts:
            chosen = means[column].min() if lowest else means[column].max()
            bold = f"{chosen:.{digits}f}"
            texts[column] = [f"**{text}**" if text == bold else text for text in texts[column]]
    return texts.rename(index=METHODS)


def _difference(values: pd.Series) -> str:
    return f"{values.mean():+.4f} ({values.min():+.4f} to {values.max():+.4f})"
