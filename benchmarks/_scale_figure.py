"""The figure of `scale.py`: time and peak memory by cells, a panel for each number of genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from _cost_tables import SCALE_METHODS
from _figure import STYLE
from _tables import COLOURS
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

# scdtl in four ways has one colour, and its own line and marker for each.
WAYS = {
    "zero-shot": {"ls": ":", "marker": "o"},
    "scdtl": {"ls": "-", "marker": "o"},
    "store-zero": {"ls": ":", "marker": "s"},
    "store": {"ls": "-", "marker": "s"},
}
PEER = {"ls": "-", "marker": "o"}
MEASURES = {"seconds": ("Time (s)", 1), "peak_mb": ("Peak memory (GiB)", 1024)}


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Write the figure: both axes logarithmic, so that a line of slope 1 is linear growth."""
    rows = rows.astype({"cells": int})
    genes = [n for n, some in rows.groupby("genes") if some["cells"].nunique() > 1]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.5 * len(genes), 6.2), layout="constrained")
        grid = figure.subplots(
            len(MEASURES), len(genes), sharex="col", sharey="row", squeeze=False
        )
        for line, (measure, (name, factor)) in zip(grid, MEASURES.items(), strict=True):
            for axes, n_genes in zip(line, genes, strict=True):
                for method, label in SCALE_METHODS.items():
                    some = rows[(rows["genes"] == n_genes) & (rows["method"] == method)]
                    medians = some.groupby("cells")[measure].median().dropna() / factor
                    style = WAYS.get(method, PEER)
                    colour = COLOURS["scdtl" if method in WAYS else method]
                    if len(medians):
                        axes.plot(medians.index, medians, ms=5, color=colour, label=label, **style)
                axes.set(xscale="log", yscale="log")
            line[0].set_ylabel(name)
        for axes, n_genes in zip(grid[0], genes, strict=True):
            axes.set_title(f"{n_genes:,} genes", fontsize="medium")
        for axes in grid[-1]:
            axes.set_xlabel("Cells")
        handles = {}
        for axes in grid.ravel():
            handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=2, frameon=False
        )
        figure.savefig(path, dpi=200)
