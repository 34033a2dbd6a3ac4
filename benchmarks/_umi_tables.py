"""Tables of the benchmarks that hold molecules out: accuracy, depth, parts, transfer."""

from __future__ import annotations

import pandas as pd
from _tables import LINE, METHODS, OWN, as_markdown, as_texts, by_cells, named, side_by_side

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
MAIN_SCORES = ["poisson_score", "gene_d2", "mse_score_expected"]
NO_BULK = "no bulk"


def accuracy(rows: pd.DataFrame) -> str:
    """Scores and leads of `accuracy.py`."""
    rows = named(rows)
    parts = []
    for title, group in by_cells(rows):
        for score, name in SCORES.items():
            means = side_by_side(group, score, LINE)
            parts += [f"**{name}, {title}**", as_markdown(as_texts(means))]
        parts += _openproblems(group, title)
    if set(OWN) < set(rows["method"]):
        for score in MAIN_SCORES:
            parts += [f"**Lead in {SCORES[score]}**", as_markdown(leads(rows, score))]
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


def ablation(rows: pd.DataFrame) -> str:
    """Scores and seconds of `ablation.py`, and the mean difference to the full model."""
    parts = []
    for title, group in by_cells(named(rows)):
        for column in [*MAIN_SCORES, "seconds"]:
            digits = 1 if column == "seconds" else 3
            means = side_by_side(group, column, ["method"])
            table = as_texts(means, digits, best=column != "seconds")
            difference = means.sub(means.loc["full"], axis=1).mean(axis=1)
            table["mean difference to full"] = [f"{d:+.{digits + 1}f}" for d in difference]
            name = SCORES.get(column, column.capitalize())
            parts += [f"**{name}, {title}**", as_markdown(table.rename_axis("variant"))]
    return "\n\n".join(parts) + "\n"


def transfer(rows: pd.DataFrame) -> str:
    """Gains over the run from scratch in the same draw."""
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


def weights(rows: pd.DataFrame) -> str:
    """Gains of several weights over the run from scratch in the same draw."""
    draw = ["dataset", "cells", "seed"]
    values = rows.set_index([*draw, "line", "bulk"])[["gene_d2", "poisson_score"]]
    scratch = values.xs(NO_BULK, level="line").droplevel("bulk")
    gain = values.drop(index=NO_BULK, level="line").sub(scratch)
    means = gain.groupby(["line", "bulk", "cells"], sort=False).mean().unstack("cells")
    means = means[sorted(means, key=lambda column: (column[0], int(column[1])))]
    table = means.map("{:+.4f}".format)
    table.columns = [f"{SCORES[score]}, {cells} cells" for score, cells in table.columns]
    return as_markdown(table.rename_axis(["transfer", "weights"])) + "\n"


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


def _difference(values: pd.Series) -> str:
    return f"{values.mean():+.4f} ({values.min():+.4f} to {values.max():+.4f})"
