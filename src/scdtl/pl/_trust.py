"""Trust: for which genes the imputation is better than the mean profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scdtl._constants import DEFAULT_KEY
from scdtl.pl._axes import BLUE, GREY, ORANGE, ink, one_panel
from scdtl.pl._genes import LOWEST, draw_genes, finish_genes
from scdtl.pl._imputed import columns_of, counts_of, part_of_results, results

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_EDGE = 0.02


def trust(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    genes: Sequence[str] | None = None,
    layer: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw how far the imputation of each gene can be trusted, against its mean count.

    Trust is the share of the deviance of held-out data that imputation explains beyond the mean
    profile. Genes above the line were predicted better than by their mean; a gene is trusted if
    this exceeds sampling error. Genes with too few held-out data are marked at the lower edge.

    Parameters
    ----------
    adata
        Imputed by :func:`scdtl.pp.impute`.
    key
        Name of the results, its ``key_added``.
    genes
        Genes to label.
    layer
        Layer with the raw counts; ``None`` for the one that was imputed.
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
        If there are no results of that name, or a gene or layer is missing.
    ValueError
        If the layer does not hold raw counts, or a gene to label has no counts.

    Examples
    --------
    >>> import scdtl
    >>> adata = scdtl.datasets.toy()
    >>> scdtl.pp.impute(adata, bulk=None, max_epochs=1, verbose=False)
    >>> axes = scdtl.pl.trust(adata, genes=["GENE0"], show=False)
    """
    entry = results(adata, key)
    explained = part_of_results(adata, "var", f"{key}_trust").to_numpy(dtype=float)
    counts = counts_of(adata, entry, layer)
    mean_count = np.asarray(counts.mean(axis=0), dtype=float).ravel()
    named = [] if genes is None else columns_of(adata.var_names, genes).tolist()
    without = [str(adata.var_names[at]) for at in named if mean_count[at] == 0]
    if without:
        raise ValueError(
            f"{', '.join(without)} has no counts, so there is nothing to draw: leave it out of "
            "genes=."
        )

    unknown = np.isnan(explained)
    trusted = part_of_results(adata, "var", f"{key}_trusted").to_numpy(dtype=bool)
    with one_panel(ax, show, save, size=(5.4, 4.6)) as ax:
        for which, colour, label in (
            (trusted, BLUE, "trusted"),
            (~trusted & ~unknown, ORANGE, "not trusted"),
        ):
            draw_genes(
                ax, mean_count[which], explained[which], colour, f"{label}: {which.sum():,}"
            )
        finish_genes(
            ax,
            explained,
            threshold=0,
            title="Trust in each gene",
            ylabel="deviance of held-out data\nexplained beyond the mean profile",
        )
        at_the_edge = ax.get_xaxis_transform()
        drawn = unknown & (mean_count > 0)
        ax.scatter(
            mean_count[drawn],
            np.full(drawn.sum(), _EDGE),
            marker="|",
            s=20,
            color=GREY,
            linewidths=0.6,
            transform=at_the_edge,
            label=f"too few to tell: {unknown.sum():,}",
        )
        ax.update_datalim(np.column_stack([mean_count[drawn], mean_count[drawn]]), updatey=False)
        ax.autoscale_view()
        _name(ax, named, adata.var_names, mean_count, explained)
        # Above, so that a phone need not shrink the panel to make room beside it.
        ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1.08), alignment="left")
    return ax


def _name(
    ax: Axes,
    named: list[int],
    names: pd.Index,
    mean_count: NDArray[np.floating],
    explained: NDArray[np.floating],
) -> None:
    """Circle and name genes; names that would lie on each other are stacked."""
    import matplotlib as mpl

    height = 1.2 * float(mpl.rcParams["font.size"])
    points_of = 72 / ax.figure.figure.dpi
    places = [
        ((mean_count[at], _EDGE), ax.get_xaxis_transform())
        if np.isnan(explained[at])
        else ((mean_count[at], max(explained[at], LOWEST)), ax.transData)
        for at in named
    ]
    at_points = [transform.transform(place) * points_of for place, transform in places]
    taken: list[tuple[float, float]] = []
    shifts = {}
    for i in sorted(range(len(named)), key=lambda i: at_points[i][1]):  # from below
        x, y = at_points[i] + (5, 3)
        for other_x, other_y in taken:
            if abs(x - other_x) < 4 * height and y < other_y + height:
                y = other_y + height
        taken.append((x, y))
        shifts[i] = (x, y) - at_points[i]
    circle = {"color": ink(ax), "marker": "o", "markersize": 6, "markerfacecolor": "none"}
    for i, (place, transform) in enumerate(places):
        ax.plot(*place, transform=transform, **circle)
        ax.annotate(
            str(names[named[i]]),
            place,
            xycoords=transform,
            xytext=shifts[i],
            textcoords="offset points",
        )
