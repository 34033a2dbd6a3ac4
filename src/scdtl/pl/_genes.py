"""Genes as points: how well each is predicted against how many counts it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scdtl.pl._axes import ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOWEST = -0.5


def draw_genes(
    ax: Axes, mean_count: np.ndarray, explained: np.ndarray, color: str, label: str | None = None
) -> None:
    """Draw genes; those predicted much worse than by their mean are drawn at the lower edge."""
    ax.scatter(
        mean_count,
        np.maximum(explained, LOWEST),
        s=12,
        alpha=0.6,
        color=color,
        linewidths=0,
        label=label,
        rasterized=True,
    )


def finish_genes(
    ax: Axes, explained: np.ndarray, *, threshold: float, title: str, ylabel: str
) -> None:
    """Draw the threshold, and name the axes."""
    ax.axhline(threshold, color=ink(ax), linewidth=0.8)
    if len(explained):
        ax.set_xscale("log")
    n_below = int((explained < LOWEST).sum())
    noun = "gene" if n_below == 1 else "genes"
    below = f"\n({n_below} {noun} below {LOWEST} drawn there)" if n_below else ""
    ax.set(title=title, xlabel="counts per cell", ylabel=f"{ylabel}{below}")
    ax.spines[["top", "right"]].set_visible(False)
