"""The figure of `accuracy.py`: a dot for each line, one panel for each score and data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from _tables import DATASETS, METHODS, OWN, SCORES
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes

BLUE, VERMILLION = "#0072B2", "#D55E00"  # apart for every kind of colour vision (Okabe and Ito)
PUBLISHED = {"marker": "o", "facecolor": "white", "edgecolor": BLUE}
POSTERIOR = {"marker": "o", "facecolor": BLUE, "edgecolor": BLUE}
SCDTL = {"marker": "D", "facecolor": VERMILLION, "edgecolor": VERMILLION}
STYLES = {
    "peer as published": PUBLISHED,
    "peer with the same posterior": POSTERIOR,
    "scdtl": SCDTL,
}
FIGURE_SCORES = ["gene_d2", "poisson_score"]


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Write the figure: scores and numbers of cells from top to bottom, data sets in columns."""
    datasets = list(dict.fromkeys(rows["dataset"]))
    panels = [(s, n) for s in FIGURE_SCORES for n in dict.fromkeys(rows["cells"].astype(str))]
    methods = [method for method in METHODS if method in set(rows["method"])]
    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        height = 0.7 + len(panels) * (0.6 + 0.15 * len(methods))
        figure = Figure(figsize=(1.9 + 1.6 * len(datasets), height), layout="constrained")
        grid = figure.subplots(len(panels), len(datasets), sharey=True, squeeze=False)
        for row, (score, n_cells) in zip(grid, panels, strict=True):
            for axes, dataset in zip(row, datasets, strict=True):
                chosen = (rows["dataset"] == dataset) & (rows["cells"].astype(str) == n_cells)
                means = rows[chosen].groupby(["method", "line"], sort=False)[score].mean()
                _panel(axes, means, methods)
            cells = "all cells" if n_cells == "all" else f"{n_cells} cells"
            title = f"{SCORES[score]}, {cells}"
            row[0].text(0, 1.2, title, transform=row[0].transAxes, fontweight="bold")
            for axes, dataset in zip(row, datasets, strict=True):
                axes.set_title(DATASETS.get(dataset, dataset), fontsize="medium")
        figure.legend(handles=_legend(), loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(path, dpi=160)


def _legend() -> list[Line2D]:
    entries = [
        (label, style["marker"], style["facecolor"], style["edgecolor"])
        for label, style in STYLES.items()
    ]
    entries.append(("peer as published, off the axis", "<", BLUE, BLUE))
    return [
        Line2D([], [], ls="", ms=5, label=label, marker=marker, mfc=face, mec=edge)
        for label, marker, face, edge in entries
    ]


def _panel(axes: Axes, means: pd.Series, methods: list[str]) -> None:
    """One dot for each line; the axis is chosen for lines with a posterior."""
    with_posterior = means[[line != "as published" for _, line in means.index]]
    low, high = with_posterior.min(), with_posterior.max()
    margin = max(0.12 * (high - low), 0.002)
    left = low - 4 * margin
    for (method, line), value in means.items():
        style = SCDTL if method in OWN else PUBLISHED if line == "as published" else POSTERIOR
        y = len(methods) - 1 - methods.index(method)
        if value < left:
            axes.scatter(left, y, s=12, marker="<", color=BLUE, clip_on=False, zorder=3)
        else:
            axes.scatter(value, y, s=22, linewidth=1, zorder=3, **style)
    if "scdtl" in methods:
        axes.axvline(means["scdtl"].iloc[0], color=VERMILLION, linewidth=0.8, zorder=1)
    axes.set_xlim(left, max(high, means.max()) + margin)
    axes.set_ylim(-0.6, len(methods) - 0.4)
    axes.set_yticks(range(len(methods)), [METHODS[method] for method in reversed(methods)])
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.tick_params(axis="y", length=0)
