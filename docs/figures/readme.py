"""Draws the first figure, and writes the numbers beside it: python docs/figures/readme.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
import scanpy as sc
from matplotlib.figure import Figure
from sklearn.metrics import adjusted_rand_score

import scdtl

if TYPE_CHECKING:
    from anndata import AnnData

STATIC = Path(__file__).parents[1] / "_static"

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
INK = "#767676"


def main() -> None:
    """Impute, embed and cluster as scanpy does by default, and compare with the types."""
    adata = scdtl.datasets.mouse_spleen()
    adata.layers["log1p"] = adata.X.copy()
    sc.pp.normalize_total(adata, layer="log1p", target_sum=1e4)
    sc.pp.log1p(adata, layer="log1p")
    scdtl.pp.impute(adata, bulk="mouse", verbose=False)
    cells = {"raw": embedded(adata, "log1p"), "imputed": embedded(adata, "scdtl")}
    table = pd.DataFrame({name: numbers(of_layer) for name, of_layer in cells.items()}).T
    table.insert(0, "cells", adata.n_obs)
    table.insert(1, "median_molecules", np.median(np.asarray(adata.X.sum(axis=1))))
    table.round(4).to_csv(STATIC / "benchmarks" / "before_after.csv", index_label="layer")
    print(table.T)
    draw(cells)


def embedded(adata: AnnData, layer: str) -> AnnData:
    """Neighbours, UMAP and Leiden of a layer."""
    cells = sc.AnnData(adata.layers[layer], obs=adata.obs, var=adata.var)
    sc.pp.pca(cells)
    sc.pp.neighbors(cells)
    sc.tl.umap(cells)
    return cells


def numbers(cells: AnnData) -> dict[str, float]:
    """How many neighbours are of the same type; Leiden by default, and with a cluster per type."""
    types = cells.obs["cell_type"].to_numpy(dtype=str)
    graph = cells.obsp["distances"].tocsr()
    same = np.array([np.mean(types[graph[i].indices] == types[i]) for i in range(cells.n_obs)])
    clusters, n_types = leiden(cells), len(np.unique(types))
    as_many = [
        adjusted_rand_score(types, found)
        for resolution in np.arange(0.2, 1.3, 0.1)
        for seed in range(5)
        if len(np.unique(found := leiden(cells, resolution, seed))) == n_types
    ]
    return {
        "same_type": same.mean(),
        "same_type_of_nk": same[types == "NK cell"].mean(),
        "clusters": len(np.unique(clusters)),
        "ari": adjusted_rand_score(types, clusters),
        "ari_as_many_clusters": np.mean(as_many),
    }


def leiden(cells: AnnData, resolution: float = 1, seed: int = 0) -> np.ndarray:
    options = {"flavor": "igraph", "n_iterations": 2, "directed": False}
    sc.tl.leiden(cells, resolution, random_state=seed, **options)
    return cells.obs["leiden"].to_numpy()


def draw(cells: dict[str, AnnData]) -> None:
    """On no ground, with grey letters large enough for a phone."""
    with mpl.rc_context({"font.size": 13, "text.color": INK, "axes.edgecolor": INK}):
        figure = Figure(figsize=(7.4, 4.4), layout="constrained")
        axes = figure.subplots(1, 2)
        titles = {"raw": "raw counts", "imputed": "imputed by scdtl"}
        for axis, (name, of_layer) in zip(axes, cells.items(), strict=True):
            types = of_layer.obs["cell_type"].astype(str)
            for kind, (starts, colour) in COLOURS.items():
                points = of_layer.obsm["X_umap"][types.str.startswith(starts).to_numpy()]
                axis.scatter(*points.T, s=7, color=colour, label=kind, linewidths=0)
            axis.set(title=titles[name], xticks=[], yticks=[])
            axis.patch.set_visible(False)
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(
            handles,
            names,
            loc="outside lower center",
            ncols=4,
            markerscale=3,
            frameon=False,
            fontsize=12,
            columnspacing=1,
            handletextpad=0.2,
        )
        figure.savefig(STATIC / "before_after.png", dpi=130, transparent=True)


if __name__ == "__main__":
    main()
