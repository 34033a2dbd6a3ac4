"""Draws the first figure: python docs/figures/readme.py. Its curves are of neighbours.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
import scanpy as sc
from matplotlib.figure import Figure

import scdtl
from scdtl.pl._methods import colour_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import SubFigure

STATIC = Path(__file__).parents[1] / "_static"
N_CELLS = 300

# The authors' types, by how they start; the colours are seen on light and on dark ground.
COLOURS = {
    "B cells": ("Marginal", "#0072B2"),
    "T cells": ("T cell", "#E69F00"),
    "NK cells": ("NK", "#CC79A7"),
    "Dendritic": ("Dendritic", "#009E73"),
    "Monocytes": ("Monocyte", "#D55E00"),
    "Granulocytes": ("Granulocyte", "#56B4E9"),
    "Macrophages": ("Macrophage", "#B8A800"),
    "Others": (("Plasma", "Erythroblast", "Neutrophil"), "#888888"),
}
METHODS = {
    "scdtl": "scdtl",
    "scdtl-no-bulk": "scdtl without bulk",
    "alra": "ALRA",
    "magic": "MAGIC",
    "cellmapper": "CellMapper",
    "observed": "raw counts",
}
INK = "#767676"


def main() -> None:
    """Impute a few cells and embed them as scanpy does by default."""
    adata = scdtl.datasets.mouse_spleen()
    drawn = np.random.default_rng(0).choice(adata.n_obs, N_CELLS, replace=False)
    adata = adata[np.sort(drawn)].copy()
    sc.pp.filter_genes(adata, min_cells=3)
    adata.layers["log1p"] = adata.X.copy()
    sc.pp.normalize_total(adata, layer="log1p", target_sum=1e4)
    sc.pp.log1p(adata, layer="log1p")
    scdtl.pp.impute(adata, bulk="mouse", verbose=False)
    cells = {
        "raw counts": embedded(adata, "log1p"),
        "imputed by scdtl": embedded(adata, "scdtl"),
    }
    rows = pd.read_csv(STATIC / "benchmarks" / "neighbours.csv")
    draw(cells, rows[rows["dataset"] == "mouse_spleen_mca"])


def embedded(adata: AnnData, layer: str) -> AnnData:
    """UMAP of a layer."""
    cells = sc.AnnData(adata.layers[layer], obs=adata.obs, var=adata.var)
    sc.pp.pca(cells)
    sc.pp.neighbors(cells)
    sc.tl.umap(cells)
    return cells


def draw(cells: dict[str, AnnData], rows: pd.DataFrame) -> None:
    """On no ground, with grey letters large enough for a phone."""
    ink = dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    )
    with mpl.rc_context({"font.size": 13, **ink}):
        figure = Figure(figsize=(7.4, 7.6), layout="constrained")
        above, below = figure.subfigures(2, height_ratios=(4.4, 3.2))
        for part in (figure, above, below):
            part.patch.set_visible(False)
        draw_cells(above, cells)
        draw_shares(below, rows)
        figure.savefig(STATIC / "before_after.png", dpi=130, transparent=True)


def draw_cells(figure: SubFigure, cells: dict[str, AnnData]) -> None:
    """Both embeddings, coloured by type."""
    axes = figure.subplots(1, len(cells))
    for axis, (title, of_layer) in zip(axes, cells.items(), strict=True):
        types = of_layer.obs["cell_type"].astype(str)
        for kind, (starts, colour) in COLOURS.items():
            points = of_layer.obsm["X_umap"][types.str.startswith(starts).to_numpy()]
            axis.scatter(*points.T, s=16, color=colour, label=kind, linewidths=0)
        axis.set(title=title, xticks=[], yticks=[])
        axis.patch.set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=4,
        markerscale=2,
        frameon=False,
        fontsize=12,
        columnspacing=1,
        handletextpad=0.2,
    )


def draw_shares(figure: SubFigure, rows: pd.DataFrame) -> None:
    """Neighbours of the same type by the number of cells."""
    axis = figure.subplots()
    means = 100 * rows.pivot_table(index="cells", columns="method", values="same_type")
    for method, name in METHODS.items():
        axis.plot(means.index, means[method], "o-", ms=5, color=colour_of(name), label=name)
    axis.set(xscale="log", xlabel="Cells", ylabel="Neighbours of\nthe same type (%)")
    axis.set_xticks(means.index, map("{:,}".format, means.index))
    axis.minorticks_off()
    axis.patch.set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=12)


if __name__ == "__main__":
    main()
