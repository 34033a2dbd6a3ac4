"""Cells as points, in colours of a column of obs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scdtl.pl._axes import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    N_COLUMNS,
    ORANGE,
    PURPLE,
    SKY_BLUE,
    VERMILLION,
    YELLOW,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_COLOURS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY_BLUE, YELLOW, BLACK)
_MARKERS = ("o", "^", "s", "D", "v")
# An image within a vector file: a point per cell would make it large.
_STYLE: dict[str, Any] = {"s": 10, "alpha": 0.4, "linewidths": 0, "rasterized": True}


def colours_of(adata: AnnData, color: str | None) -> pd.Series | None:
    """Return the column of ``obs`` that gives the colours.

    Parameters
    ----------
    adata
        Cells.
    color
        Name of the column; ``None`` for one colour.
    """
    if color is None:
        return None
    if color not in adata.obs:
        there = ", ".join(map(str, adata.obs.columns)) or "none"
        raise KeyError(f"color {color!r} is not a column of adata.obs; there are: {there}.")
    return adata.obs[color]


def legend_width(colours: pd.Series | None) -> float:
    """Return the inches that a legend or colour bar takes to the right of the panels.

    Parameters
    ----------
    colours
        Of :func:`colours_of`.
    """
    if colours is None:
        return 0
    if _are_numbers(colours):
        return 0.8
    names = [str(name) for name in [colours.name, *colours.unique()]]
    return 0.5 + 0.09 * max(map(len, names))


def draw_cells(
    axes: list[Axes], points: list[tuple[np.ndarray, np.ndarray]], colours: pd.Series | None
) -> None:
    """Draw the cells on each panel, with one legend or colour bar for all.

    Parameters
    ----------
    axes
        Panels, row by row.
    points
        x and y of each cell, for each panel.
    colours
        Of :func:`colours_of`.
    """
    if colours is None:
        for ax, (x, y) in zip(axes, points, strict=True):
            ax.scatter(x, y, color=BLUE, **_STYLE)
    elif _are_numbers(colours):
        _draw_numbers(axes, points, colours)
    else:
        for ax, (x, y) in zip(axes, points, strict=True):
            _draw_categories(ax, x, y, colours)
        top_right = axes[min(len(axes), N_COLUMNS) - 1]
        legend = top_right.legend(
            title=colours.name,
            frameon=False,
            markerscale=1.5,
            loc="upper left",
            bbox_to_anchor=(1, 1),
        )
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1)


def _are_numbers(colours: pd.Series) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_numeric_dtype(colours) and not is_bool_dtype(colours)


def _draw_numbers(
    axes: list[Axes], points: list[tuple[np.ndarray, np.ndarray]], colours: pd.Series
) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable

    values = colours.to_numpy(dtype=float, na_value=np.nan)
    colormap = colormaps["viridis"].with_extremes(bad=GREY)
    for ax, (x, y) in zip(axes, points, strict=True):
        drawn = ax.scatter(x, y, c=values, cmap=colormap, plotnonfinite=True, **_STYLE)
    opaque = ScalarMappable(drawn.norm, colormap)
    axes[0].figure.colorbar(opaque, ax=axes, label=str(colours.name))


def _draw_categories(ax: Axes, x: np.ndarray, y: np.ndarray, colours: pd.Series) -> None:
    categorical = colours.astype("category").cat
    codes = categorical.codes.to_numpy()
    if (codes < 0).any():
        ax.scatter(x[codes < 0], y[codes < 0], color=GREY, label="none", **_STYLE)
    for code, name in enumerate(categorical.categories):
        of_category = codes == code
        if of_category.any():
            ax.scatter(
                x[of_category],
                y[of_category],
                color=_COLOURS[code % len(_COLOURS)],
                marker=_MARKERS[code // len(_COLOURS) % len(_MARKERS)],
                label=str(name),
                **_STYLE,
            )
