"""The demo: real counts imputed, scored on held-out molecules, clustered and drawn."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger("scdtl")

MARKERS = ("CD3D", "CD3E")
"""Two genes of one protein complex, hence of the same cells."""


def run_demo(out_dir: Path) -> pd.DataFrame:
    """Write ``pbmc68k_imputed.h5ad`` and ``demo.png`` of real blood cells; return the scores."""
    from scdtl.datasets import pbmc68k_counts
    from scdtl.pp import impute

    out_dir.mkdir(parents=True, exist_ok=True)
    adata = pbmc68k_counts()
    with _one_thread():
        logger.info("scoring on held-out molecules of %d cells × %d genes", *adata.shape)
        scores = _scores(adata)
        logger.info("imputing all molecules")
        impute(adata, verbose=False)
    logger.info("clustering the imputed layer")
    _embed_raw(adata)
    _cluster(adata)
    adata.write_h5ad(out_dir / "pbmc68k_imputed.h5ad")
    _draw(adata, scores).savefig(out_dir / "demo.png", dpi=150)
    print(scores.to_string(float_format="{:.3f}".format, na_rep="-"))
    print(f"wrote {out_dir / 'pbmc68k_imputed.h5ad'} and {out_dir / 'demo.png'}")
    return scores


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread, as small data on a busy machine mostly wait for a second."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _scores(adata: AnnData) -> pd.DataFrame:
    """Poisson score and mean gene D² on held-out molecules, one row per method."""
    from scdtl.tl import evaluate

    names = {"observed": "raw counts", "mean profile": "mean profile", "scdtl": "scdtl"}
    columns = {"poisson_score": "Poisson score", "gene_deviance_explained": "gene D²"}
    scores = evaluate(adata, methods=list(names), verbose=False).scores
    scores = scores.loc[list(names), list(columns)].rename_axis(None)
    return scores.rename(index=names, columns=columns)


def _embed_raw(adata: AnnData) -> None:
    """UMAP of the log-normalised counts, to compare with."""
    import scanpy as sc

    raw = adata.copy()
    sc.pp.normalize_total(raw, target_sum=1e4)
    sc.pp.log1p(raw)
    sc.pp.pca(raw)
    sc.pp.neighbors(raw)
    sc.tl.umap(raw)
    adata.layers["log1p"] = raw.X
    adata.obsm["X_umap_raw"] = raw.obsm["X_umap"]


def _cluster(adata: AnnData) -> None:
    import scanpy as sc

    sc.pp.pca(adata, layer="scdtl")
    sc.pp.neighbors(adata)
    sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)
    sc.tl.umap(adata)


def _draw(adata: AnnData, scores: pd.DataFrame) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    _draw_cells(axes[0, 0], adata, adata.obsm["X_umap_raw"], "Raw: UMAP")
    _draw_cells(axes[0, 1], adata, adata.obsm["X_umap"], "Imputed: UMAP")
    for axis in axes[0, :2]:
        axis.set(xticks=[], yticks=[], xlabel="UMAP1", ylabel="UMAP2")
    axes[0, 2].axis("off")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[0, 2].legend(
        handles,
        labels,
        title="Published cell type",
        loc="center left",
        frameon=False,
        markerscale=3,
    )
    for axis, layer, title in zip(axes[1], ("log1p", "scdtl"), ("Raw", "Imputed"), strict=False):
        pair = np.column_stack([_column(adata, gene, layer) for gene in MARKERS])
        _draw_cells(axis, adata, pair, f"{title}: two chains of CD3")
        axis.set(xlabel=f"{MARKERS[0]} (log1p CP10k)", ylabel=f"{MARKERS[1]} (log1p CP10k)")
    _draw_scores(axes[1, 2], scores["Poisson score"])
    return figure


def _draw_cells(axis: Axes, adata: AnnData, positions: np.ndarray, title: str) -> None:
    from matplotlib import color_sequences

    labels = adata.obs["bulk_labels"]
    for name, colour in zip(labels.cat.categories, color_sequences["tab10"], strict=False):
        chosen = (labels == name).to_numpy()
        horizontal, vertical = positions[chosen].T
        axis.scatter(horizontal, vertical, s=6, color=colour, label=name, linewidths=0)
    axis.set_title(title)


def _column(adata: AnnData, gene: str, layer: str) -> np.ndarray:
    return adata[:, gene].to_df(layer=layer)[gene].to_numpy()


def _draw_scores(axis: Axes, scores: pd.Series) -> None:
    bars = axis.bar(scores.index, scores, color=["0.75", "0.5", "tab:blue"])
    axis.bar_label(bars, fmt="%.3f")
    axis.set(title="Held-out molecules predicted", ylabel="Poisson score (0 raw, 1 perfect)")
    axis.margins(y=0.15)
    axis.spines[["top", "right"]].set_visible(False)
