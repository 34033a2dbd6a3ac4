"""Figures of an evaluation, in colours that colour-blind readers can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scdtl.tl._verdict import MEAN_PROFILE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Of Okabe and Ito
_BLUE, _ORANGE, _GREY = "#0072B2", "#E69F00", "#999999"
_LOWEST = -0.5


def draw_scores(axes: Axes, scores: pd.Series) -> None:
    """Draw the Poisson score of each method as a horizontal bar, the first one on top.

    Parameters
    ----------
    axes
        Where to draw.
    scores
        Score per method.
    """
    bars = axes.barh(
        scores.index.astype(str), scores.fillna(0), color=[_colour(name) for name in scores.index]
    )
    axes.bar_label(bars, ["–" if np.isnan(x) else f"{x:.3f}" for x in scores], padding=3)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(title="Held-out molecules predicted", xlabel="Poisson score (0 no denoising)")
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)


def draw_genes(axes: Axes, genes: pd.DataFrame, method: str) -> None:
    """Draw the deviance explained of each gene against its mean count.

    Parameters
    ----------
    axes
        Where to draw.
    genes
        Table of an :class:`scdtl.tl.Evaluation`.
    method
        Which method.
    """
    scored = genes[genes[method].notna() & (genes["mean_count"] > 0)]
    axes.axhline(0, color="black", linewidth=0.8)
    axes.scatter(
        scored["mean_count"],
        scored[method].clip(lower=_LOWEST),
        s=8,
        alpha=0.6,
        color=_BLUE,
        linewidths=0,
    )
    if len(scored):
        axes.set_xscale("log")
    n_below = int((scored[method] < _LOWEST).sum())
    below = f"\n({n_below} genes below {_LOWEST} drawn there)" if n_below else ""
    axes.set(
        title=f"{method}: each gene",
        xlabel="molecules per cell",
        ylabel=f"deviance explained (0 its mean){below}",
    )
    axes.spines[["top", "right"]].set_visible(False)


def draw_distribution(axes: Axes, genes: pd.DataFrame, methods: list[str]) -> None:
    """Draw how many genes have which deviance explained, a line per method.

    Parameters
    ----------
    axes
        Where to draw.
    genes
        Table of an :class:`scdtl.tl.Evaluation`.
    methods
        Which methods; their lines differ in colour and in dashes.
    """
    values = genes[methods].clip(lower=_LOWEST)
    highest = np.nan_to_num(values.to_numpy(dtype=float), nan=0.0).max(initial=0.1)
    edges = np.linspace(_LOWEST, highest, 50)
    styles = [("-", _BLUE), ("--", _ORANGE), (":", "#009E73"), ("-.", "#CC79A7")]
    for i, name in enumerate(methods):
        style, colour = styles[i % len(styles)]
        numbers, _ = np.histogram(values[name].dropna(), edges)
        axes.stairs(numbers, edges, color=colour, linestyle=style, linewidth=1.6, label=name)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(title="All genes", xlabel="deviance explained (0 its mean)", ylabel="genes")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _colour(name: str) -> str:
    if name == "scdtl":
        return _BLUE
    return _GREY if name in ("observed", MEAN_PROFILE) else _ORANGE
