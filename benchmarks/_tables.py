"""From rows of the benchmarks to Markdown: means over seeds, data sets side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
}
METHODS = {
    "observed": "no denoising",
    "mean": "mean profile",
    "knn-smoothing-15": "kNN-smoothing 15",
    "knn-smoothing-30": "kNN-smoothing 30",
    "neighbour-sum-15": "neighbour sum 15",
    "neighbour-sum-30": "neighbour sum 30",
    "magic": "MAGIC",
    "magic-auto": "MAGIC, t auto",
    "scvi-30": "scVI, 30 epochs",
    "scvi-default": "scVI, default epochs",
    "scdtl-no-bulk": "scdtl without bulk",
    "scdtl": "scdtl",
}
SCORES = {
    "poisson_score": "Poisson score",
    "gene_d2": "gene D²",
    "mse_score": "MSE score of the rates",
    "mse_score_expected": "MSE score, expected",
}
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
    rows = _named(rows)
    parts = []
    for title, group in _by_cells(rows):
        for score, name in SCORES.items():
            means = _side_by_side(group, score, LINE)
            parts += [f"**{name}, {title}**", as_markdown(_texts(means))]
    if set(OWN) < set(rows["method"]):
        for score in MAIN_SCORES:
            parts += [f"**Lead in {SCORES[score]}**", as_markdown(leads(rows, score))]
    for title, group in _by_cells(rows):
        for cost, name in (
            ("seconds", "Seconds"),
            ("train_seconds", "Seconds in training"),
            ("added_mb", "Memory beyond libraries and data, MB"),
        ):
            means = _side_by_side(group, cost, ["method"]).dropna(how="all")
            digits = 0 if cost == "added_mb" else 1
            parts += [f"**{name}, {title}**", as_markdown(_texts(means, digits, best=False))]
    return "\n\n".join(parts) + "\n"


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
    means = rows.groupby(LINE, sort=False)[["gene_r", "cell_r"]].mean()
    means.columns = ["gene r", "cell r"]
    return as_markdown(_texts(means)) + "\n"


def ablation(rows: pd.DataFrame) -> str:
    """Scores and seconds of `ablation.py`, and the mean difference to the full model."""
    parts = []
    for title, group in _by_cells(_named(rows)):
        for column in [*MAIN_SCORES, "seconds"]:
            digits = 1 if column == "seconds" else 3
            means = _side_by_side(group, column, ["method"])
            table = _texts(means, digits, best=column != "seconds")
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
    texts = _texts(table, digits=1, best=False)
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


def transfer(rows: pd.DataFrame) -> str:
    """Gains over the run from scratch in the same draw, and how soon it is reached."""
    rows = _named(rows)
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


# Parts of a table


def _named(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with data sets by their short names."""
    return rows.assign(dataset=rows["dataset"].replace(DATASETS))


def _by_cells(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for n_cells, group in rows.groupby("cells", sort=False):
        yield ("all cells" if n_cells == "all" else f"{n_cells} cells"), group


def _side_by_side(rows: pd.DataFrame, value: str, index: list[str]) -> pd.DataFrame:
    """Means over seeds, lines × data sets, both in the order of the rows."""
    means = rows.pivot_table(
        index=index, columns="dataset", values=value, sort=False, dropna=False, observed=True
    )
    present = list(dict.fromkeys(rows[index].itertuples(index=False, name=None)))
    keys = present if len(index) > 1 else [key for (key,) in present]
    return means.loc[keys, list(dict.fromkeys(rows["dataset"]))].rename_axis(columns=None)


def _texts(means: pd.DataFrame, digits: int = 3, *, best: bool = True) -> pd.DataFrame:
    """Numbers as texts, the highest of each column in bold, methods by their names."""
    texts = means.map(lambda value: "" if pd.isna(value) else f"{value:.{digits}f}")
    if best:
        for column in texts:
            highest = f"{means[column].max():.{digits}f}"
            texts[column] = [f"**{text}**" if text == highest else text for text in texts[column]]
    return texts.rename(index=METHODS)


def _difference(values: pd.Series) -> str:
    return f"{values.mean():+.4f} ({values.min():+.4f} to {values.max():+.4f})"
