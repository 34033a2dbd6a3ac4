"""Draws the figure of README.md from the cells inside scanpy: python docs/figures/readme.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import scanpy as sc
from matplotlib.figure import Figure

import scdtl

if TYPE_CHECKING:
    import numpy as np

TARGET = Path(__file__).parents[1] / "_static" / "before_after.png"

KINDS = {
    "T cells": ("CD4+", "CD8+"),
    "B cells": ("CD19+",),
    "NK cells": ("CD56+",),
    "Monocytes": ("CD14+",),
    "Dendritic cells": ("Dendritic",),
    "Progenitors": ("CD34+",),
}
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#999999"]


def main() -> None:
    """Impute, and write the figure."""
    adata = scdtl.datasets.pbmc68k_counts()
    raw = adata.copy()
    sc.pp.normalize_total(raw, target_sum=1e4)
    sc.pp.log1p(raw)
    scdtl.pp.impute(adata, verbose=False)
    values = {"raw counts": raw.X, "scdtl": adata.layers["scdtl"]}
    labels = adata.obs["bulk_labels"].astype(str)

    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(10, 2.9), layout="constrained")
        axes = figure.subplots(1, 4)
        for axis, (name, layer) in zip(axes[:2], values.items(), strict=True):
            _draw(axis, _umap(layer), labels)
            axis.set(title=f"UMAP of {name}", xticks=[], yticks=[])
        for axis, (name, layer) in zip(axes[2:], values.items(), strict=True):
            columns = adata.var_names.get_indexer(["CD3D", "CD3E"])
            pair = layer[:, columns]
            _draw(axis, pair.toarray() if hasattr(pair, "toarray") else pair, labels)
            axis.set(title=f"Two genes, {name}", xlabel="CD3D", ylabel="CD3E")
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside lower center", ncols=6, markerscale=2.5, frameon=False
        )
        figure.savefig(TARGET, dpi=110)


def _umap(layer) -> np.ndarray:
    cells = sc.AnnData(layer)
    sc.pp.pca(cells)
    sc.pp.neighbors(cells)
    sc.tl.umap(cells)
    return cells.obsm["X_umap"]


def _draw(axis, points: np.ndarray, labels) -> None:
    for (kind, starts), colour in zip(KINDS.items(), COLOURS, strict=True):
        chosen = labels.str.startswith(starts).to_numpy()
        axis.scatter(*points[chosen].T, s=5, color=colour, label=kind, linewidths=0)


if __name__ == "__main__":
    main()
