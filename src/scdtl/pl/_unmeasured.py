"""Genes that were not measured: how far each can be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scdtl.pl._axes import BLUE, GREY, SKY_BLUE, one_panel
from scdtl.pl._imputed import columns_of

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

_WIDTH = 0.05
_ROUGHLY, _WELL = 0.2, 0.5
_ROOM = 0.05  # of the axes' width, for a name


def unmeasured(
    adata: AnnData,
    *,
    genes: Sequence[str] | None = None,
    n_genes: int = 10,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw how many of the genes that were not measured can be expected to reach which r.

    r is the correlation over cells between prediction and measurement, ``var["expected_r"]``.

    Parameters
    ----------
    adata
        What :func:`scdtl.pp.impute_unmeasured` returned.
    genes
        Genes to name; ``None`` for those with the highest expected correlation.
    n_genes
        How many of these to name.
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
    KeyError
        If there is no ``var["expected_r"]``, or a gene is unknown.
    ValueError
        If ``expected_r`` is NaN, as with fewer than 20 measured genes.

    Examples
    --------
    >>> import scdtl
    >>> panel = scdtl.datasets.pbmc68k_counts()[:, :300].copy()
    >>> others = scdtl.pp.impute_unmeasured(panel, bulk="human", max_epochs=0, verbose=False)
    >>> axes = scdtl.pl.unmeasured(others, show=False)
    """
    if "expected_r" not in adata.var:
        raise KeyError(
            "'expected_r' is not in adata.var: give what scdtl.pp.impute_unmeasured returned."
        )
    expected = adata.var["expected_r"].to_numpy(dtype=float)
    if np.isnan(expected).all():
        raise ValueError(
            "adata.var['expected_r'] is NaN: fewer than 20 measured genes can't tell what to "
            "expect of others."
        )
    if n_genes < 0:
        raise ValueError(f"n_genes must be 0 or more, not {n_genes}.")
    named = (
        np.argsort(-expected)[:n_genes] if genes is None else columns_of(adata.var_names, genes)
    )
    # Rounded, so that edges meet the thresholds.
    bins = np.round(np.floor(expected.min() / _WIDTH) * _WIDTH + _WIDTH * np.arange(41), 2)
    bins = bins[: np.searchsorted(bins, max(expected.max(), 1)) + 1]
    with one_panel(ax, show, save, size=(5, 4.8)) as ax:
        tallest = 1.0
        for low, high, colour, label in (
            (_WELL, np.inf, BLUE, f"{_WELL} or more"),
            (_ROUGHLY, _WELL, SKY_BLUE, f"{_ROUGHLY} to {_WELL}"),
            (-np.inf, _ROUGHLY, GREY, f"below {_ROUGHLY}"),
        ):
            values = expected[(expected >= low) & (expected < high)]
            n_of_bins, *_ = ax.hist(values, bins, color=colour, label=f"{label}: {len(values):,}")
            tallest = max(tallest, np.max(n_of_bins))
        ax.set_yscale("log")
        ax.set(
            xlabel="expected correlation over cells (r)",
            ylabel="genes (log scale)",
            xlim=(bins[0], bins[-1]),
            ylim=(0.7, 10 * tallest**1.5),
        )
        ax.set_yticks([10**power for power in range(int(np.log10(tallest)) + 1)])
        ax.minorticks_off()
        _name(ax, [str(adata.var_names[at]) for at in named], expected[named])
        ax.spines[["top", "right"]].set_visible(False)
        title = f"{adata.n_vars:,} genes that were not measured, by r"
        ax.legend(
            frameon=False, loc="lower left", bbox_to_anchor=(0, 1), title=title, alignment="left"
        )
    return ax


def _name(ax: Axes, names: list[str], values: np.ndarray) -> None:
    """Write names upright at the top, side by side, each with a line to its place on the axis."""
    order = np.argsort(values)
    left, right = ax.get_xlim()
    room = _ROOM * (right - left)
    at = values[order].copy()
    least = left + room / 2
    for i in range(len(at)):
        at[i] = max(at[i], least)
        least = at[i] + room
    most = right - room / 2
    for i in range(len(at))[::-1]:
        at[i] = min(at[i], most)
        most = at[i] - room
    for i, x in zip(order, at, strict=True):
        ax.annotate(
            names[i],
            (values[i], 0),
            (x, 0.99),
            xycoords=("data", "axes fraction"),
            textcoords=("data", "axes fraction"),
            rotation=90,
            ha="center",
            va="top",
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6},
        )
