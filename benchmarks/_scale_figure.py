"""The figure of `scale.py`: time and peak memory by cells, a panel for each number of genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from _tables import SCALE_METHODS
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

# Colours that are apart for every kind of colour vision (Okabe and Ito).
COLOURS = ("#D55E00", "#D55E00", "#E69F00", "#E69F00", "#0072B2", "#009E73", "#CC79A7")
DASHED = ("zero-shot", "store-zero")
MEASURES = {"seconds": ("Time", "s", 1), "peak_mb": ("Peak memory", "GiB", 1024)}


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Write the figure: both axes logarithmic, so that a line of slope 1 is linear growth."""
    genes = [n for n, some in rows.groupby("genes") if some["cells"].nunique() > 1]
    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(3.6 * len(genes), 5.2), layout="constrained")
        grid = figure.subplots(len(MEASURES), len(genes), sharex="col", squeeze=False)
        for line, (measure, (name, unit, factor)) in zip(grid, MEASURES.items(), strict=True):
            for axes, n_genes in zip(line, genes, strict=True):
                for (method, label), colour in zip(SCALE_METHODS.items(), COLOURS, strict=True):
                    some = rows[(rows["genes"] == n_genes) & (rows["method"] == method)]
                    medians = some.groupby("cells")[measure].median().dropna() / factor
                    style = {"color": colour, "ls": "--" if method in DASHED else "-"}
                    if len(medians):
                        axes.plot(medians.index, medians, marker="o", ms=4, label=label, **style)
                axes.set(xscale="log", yscale="log", ylabel=f"{name} ({unit})")
                axes.set_title(f"{n_genes:,} genes")
        for axes in grid[-1]:
            axes.set_xlabel("Cells")
        handles = {}
        for axes in grid.ravel():
            handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False
        )
        figure.savefig(path, dpi=160)
