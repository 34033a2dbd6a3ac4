"""The figure of `accuracy.py`: what each method gains over the mean profile with posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from _summary_tables import POSTERIOR, SHOWN
from _tables import COLOURS, METHODS, OWN
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes

PANELS = {"all": "All cells", "100": "100 cells"}
INK = "#767676"  # seen on light and on dark ground
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "savefig.transparent": True,
    **dict.fromkeys(
        ["text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"], INK
    ),
}
LEFT, RIGHT = -0.05, 0.036  # beyond, to the left, an arrow
DOT = {"marker": "o", "ls": "", "color": INK}


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Write the figure: narrow, so that its type can be read on a phone."""
    methods = [method for method in SHOWN if method in set(rows["method"])]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.3, 3.4), layout="constrained")
        panels = figure.subplots(1, len(PANELS), sharey=True)
        for axes, (n_cells, title) in zip(panels, PANELS.items(), strict=True):
            _panel(axes, gains(rows[rows["cells"] == n_cells]), methods)
            axes.set_title(title, fontsize="medium")
        figure.suptitle("Gene D² gained over the mean profile with posterior", fontsize=10)
        figure.legend(handles=_legend(), loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(path, dpi=200)


def gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Lines × data sets: gene D² less that of the mean profile with posterior."""
    means = rows.pivot_table(index=["method", "line"], columns="dataset", values="gene_d2")
    return means - means.loc[("mean", POSTERIOR)]


def _panel(axes: Axes, gains: pd.DataFrame, methods: list[str]) -> None:
    """Data sets as small dots, their mean as a large one; open circles without posterior."""
    for y, method in enumerate(reversed(methods)):
        colour = COLOURS[method]
        for line, by_dataset in gains.loc[method].iterrows():
            mean = by_dataset.mean()
            if method not in OWN and line != POSTERIOR:
                _dot(axes, mean, y, facecolor="white", edgecolor=colour)
                continue
            axes.scatter(
                by_dataset.clip(LEFT), [y] * len(by_dataset), s=9, color=colour, alpha=0.5
            )
            shape = "D" if method in OWN else "o"
            _dot(axes, mean, y, marker=shape, facecolor=colour, edgecolor=colour)
    axes.axvline(0, color="0.5", linewidth=1, zorder=0)
    axes.set_xlim(LEFT - 0.004, RIGHT)
    axes.set_xticks([-0.04, 0, 0.02], ["−0.04", "0", "0.02"])
    axes.set_yticks(range(len(methods)), [METHODS[method] for method in reversed(methods)])
    axes.tick_params(axis="y", length=0)


def _dot(axes: Axes, value: float, y: int, marker: str = "o", **colours: str) -> None:
    marker = marker if value > LEFT else "<"
    axes.scatter(max(value, LEFT), y, s=48, marker=marker, zorder=3, clip_on=False, **colours)


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], ms=7, label="with posterior", **DOT),
        Line2D([], [], ms=7, mfc="white", label="as published", **DOT),
        Line2D([], [], ms=3, alpha=0.5, label="one data set", **DOT),
        Line2D([], [], ms=7, label="off the axis", **(DOT | {"marker": "<"})),
    ]
