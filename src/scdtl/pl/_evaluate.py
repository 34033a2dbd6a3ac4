"""Figures of an evaluation: which method predicts what it did not see, and for which genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scdtl.pl._axes import BLUE, ink, one_panel
from scdtl.pl._genes import LOWEST, draw_genes, finish_genes
from scdtl.pl._methods import colour_of, name_of

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes

    from scdtl.tl import Evaluation


def evaluate(
    evaluation: Evaluation,
    *,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw the main score of each method as a bar, in the order of ``evaluation.scores``.

    The main score is the Poisson score, or for reads the correlation with held-out entries.

    Parameters
    ----------
    evaluation
        What :func:`scdtl.tl.evaluate` returned.
    ax
        Where to draw; ``None`` for a new figure.
    show
        Show the figure; ``None`` does so in interactive sessions only.
    save
        File to save the figure to.

    Returns
    -------
    The axes.

    Raises
    ------
    TypeError
        If it is not an evaluation.

    Examples
    --------
    >>> import scdtl
    >>> adata = scdtl.datasets.toy()
    >>> evaluation = scdtl.tl.evaluate(adata, methods=["observed", "mean profile"])
    >>> axes = scdtl.pl.evaluate(evaluation, show=False)
    """
    _check_evaluation(evaluation)
    held_out = evaluation.held_out
    main = held_out.measures[0]
    scores = evaluation.scores[main.column]
    with one_panel(ax, show, save, size=(7, 1.5 + 0.4 * len(scores))) as ax:
        bars = ax.barh(
            range(len(scores)),  # two names may look alike
            scores.fillna(0),
            tick_label=[name_of(name) for name in scores.index],
            color=[colour_of(name) for name in scores.index],
        )
        ax.bar_label(bars, ["–" if np.isnan(x) else f"{x:.3f}" for x in scores], padding=3)
        ax.invert_yaxis()
        ax.axvline(0, color=ink(ax), linewidth=0.8)
        ax.set(title=f"Held-out {held_out.unit} predicted", xlabel=held_out.axis)
        ax.margins(x=0.15)
        ax.spines[["top", "right"]].set_visible(False)
    return ax


def evaluate_genes(
    evaluation: Evaluation,
    method: str | None = None,
    *,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw how well a method predicts each gene, against the gene's mean count.

    The score is the share of the gene's deviance (for reads, of its squared error) explained
    beyond its mean.

    Parameters
    ----------
    evaluation
        What :func:`scdtl.tl.evaluate` returned.
    method
        Which method; ``None`` for scdtl, or the best one if scdtl was not evaluated.
    ax
        Where to draw; ``None`` for a new figure.
    show
        Show the figure; ``None`` does so in interactive sessions only.
    save
        File to save the figure to.

    Returns
    -------
    The axes.

    Raises
    ------
    TypeError
        If it is not an evaluation.
    ValueError
        If the method was not evaluated.

    Examples
    --------
    >>> import scdtl
    >>> adata = scdtl.datasets.toy()
    >>> evaluation = scdtl.tl.evaluate(adata, methods=["observed", "mean profile"])
    >>> axes = scdtl.pl.evaluate_genes(evaluation, "observed", show=False)
    """
    _check_evaluation(evaluation)
    name = evaluation.main_method if method is None else method
    if name not in evaluation.scores.index:
        there = ", ".join(map(repr, evaluation.scores.index))
        raise ValueError(f"method {name!r} was not evaluated; there are: {there}.")
    genes = evaluation.genes
    scored = genes[genes[name].notna() & (genes["mean_count"] > 0)]
    explained = scored[name].to_numpy(dtype=float)
    with one_panel(ax, show, save) as ax:
        draw_genes(ax, scored["mean_count"].to_numpy(), explained, BLUE)
        finish_genes(
            ax,
            explained,
            threshold=0,
            title=f"{name_of(name)}: each gene",
            ylabel=_gene_axis(evaluation),
        )
    return ax


def draw_distribution(ax: Axes, evaluation: Evaluation, methods: list[str]) -> None:
    """Draw how many genes have how much explained, a line per method."""
    values = evaluation.genes[methods].clip(lower=LOWEST)
    highest = np.nan_to_num(values.to_numpy(dtype=float), nan=0.0).max(initial=0.1)
    edges = np.linspace(LOWEST, highest, 50)
    styles = ["-", "--", ":", "-."]
    for i, name in enumerate(methods):
        style, colour = styles[i % len(styles)], colour_of(name)
        numbers, _ = np.histogram(values[name].dropna(), edges)
        ax.stairs(
            numbers, edges, color=colour, linestyle=style, linewidth=1.6, label=name_of(name)
        )
    ax.axvline(0, color=ink(ax), linewidth=0.8)
    ax.set(title="All genes", xlabel=_gene_axis(evaluation), ylabel="genes")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


def _check_evaluation(evaluation: object) -> None:
    if not hasattr(evaluation, "main_method"):
        raise TypeError(
            f"evaluation must be what scdtl.tl.evaluate returns, not "
            f"{type(evaluation).__name__}: run evaluation = scdtl.tl.evaluate(adata) first."
        )


def _gene_axis(evaluation: Evaluation) -> str:
    return f"{evaluation.held_out.gene_score} (0 its mean)"
