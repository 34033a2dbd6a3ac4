"""Cells as points, in colours of a column of obs or of a gene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scdtl.pl._axes import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY_BLUE,
    VERMILLION,
    YELLOW,
    ink,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    Points = list[tuple[np.ndarray, np.ndarray]]

_COLOURS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY_BLUE, YELLOW)  # and that of the axes
_MARKERS = ("o", "^", "s", "D", "v")
_LEGEND_ROWS = 12
# An image within a vector file: a point per cell would make it large.
_STYLE: dict[str, Any] = {"s": 10, "alpha": 0.5, "linewidths": 0, "rasterized": True}


class Colours(NamedTuple):
    """What gives the cells their colours: categories, which have names, or numbers."""

    label: str
    values: list[np.ndarray]
    """For each panel, or one for all; of categories their codes, negative for none."""
    names: Sequence[str] | None = None
    palette: Sequence[str] | None = None


def is_gene(adata: AnnData, color: str) -> bool:
    """Whether a colour is that of a gene; a column of ``obs`` comes first, as in scanpy."""
    if not isinstance(color, str):
        raise TypeError(f"color must be the name of one gene or column of obs, not {color!r}.")
    if color in adata.obs:
        return False
    if color in adata.var_names:
        return True
    there = ", ".join(map(str, adata.obs.columns)) or "none"
    raise KeyError(
        f"color {color!r} is not a column of adata.obs (there are: {there}), nor a gene (names "
        f"look like {', '.join(map(repr, adata.var_names[:3]))})."
    )


def colours_of_column(adata: AnnData, color: str) -> Colours:
    """Return the colours of a column of ``obs``; for categories those in ``uns``, if any."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    column = adata.obs[color]
    if is_numeric_dtype(column) and not is_bool_dtype(column):
        return Colours(color, [column.to_numpy(dtype=float, na_value=np.nan)])
    categorical = column.astype("category").cat
    names = [str(name) for name in categorical.categories]
    palette = _valid_palette(adata.uns.get(f"{color}_colors"), len(names))
    return Colours(color, [categorical.codes.to_numpy()], names, palette)


def legend_size(colours: Colours | None, width: float) -> tuple[float, float]:
    """Inches that a colour bar takes to the right, and a legend below panels of that width."""
    if colours is None:
        return 0, 0
    if colours.names is None:
        return 0.8, 0
    n_rows = -(-_n_entries(colours) // _n_legend_columns(colours, width))
    return 0, 0.5 + 0.22 * n_rows


def draw_cells(axes: list[Axes], points: Points, colours: Colours | None) -> None:
    """Draw the cells on each panel, with one legend or colour bar for all."""
    if colours is None:
        for ax, (x, y) in zip(axes, points, strict=True):
            ax.scatter(x, y, color=BLUE, **_STYLE)
        return
    one_for_all = len(colours.values) == 1
    values = colours.values * len(axes) if one_for_all else colours.values
    if colours.names is None:
        _draw_numbers(axes, points, values, colours.label)
        return
    for ax, (x, y), codes in zip(axes, points, values, strict=True):
        _draw_categories(ax, x, y, codes, colours)
    _draw_legend(axes, colours)


def _draw_legend(axes: list[Axes], colours: Colours) -> None:
    """Below the panels of a figure that is ours, beside axes in a figure of the user's."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = axes[0].figure.figure
    options: dict[str, Any] = {
        "title": colours.label,
        "frameon": False,
        "markerscale": 1.5,
        "columnspacing": 1,
        "handletextpad": 0.4,
    }
    is_ours = isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine)
    if is_ours and figure.axes == axes:
        n_columns = _n_legend_columns(colours, figure.get_figwidth())
        handles, labels = axes[0].get_legend_handles_labels()
        legend = figure.legend(
            handles,
            labels,
            loc="outside lower left",
            alignment="left",
            ncols=n_columns,
            **options,
        )
    else:
        n_columns = -(-_n_entries(colours) // _LEGEND_ROWS)
        legend = axes[-1].legend(
            loc="upper left", bbox_to_anchor=(1, 1), ncols=n_columns, **options
        )
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)


def _valid_palette(palette: Any, n_categories: int) -> Sequence[str] | None:
    """A palette as scanpy writes it, if it has a colour for each category."""
    from matplotlib.colors import is_color_like

    is_valid = np.ndim(palette) == 1 and len(palette) >= n_categories
    return palette if is_valid and all(map(is_color_like, palette)) else None


def _n_entries(colours: Colours) -> int:
    return len(np.unique(np.concatenate(colours.values)))


def _n_legend_columns(colours: Colours, width: float) -> int:
    """As many as names fit side by side."""
    assert colours.names is not None
    widest = max(map(len, ["none", *colours.names]))
    return max(1, min(_n_entries(colours), int(width / (0.5 + 0.085 * widest))))


def _draw_numbers(axes: list[Axes], points: Points, values: list[np.ndarray], label: str) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    finite = np.concatenate(values)
    finite = finite[np.isfinite(finite)]
    norm = Normalize(finite.min(), finite.max()) if len(finite) else Normalize(0, 1)
    colormap = colormaps["viridis"].with_extremes(bad=GREY)
    for ax, (x, y), of_panel in zip(axes, points, values, strict=True):
        ax.scatter(x, y, c=of_panel, cmap=colormap, norm=norm, plotnonfinite=True, **_STYLE)
    axes[0].figure.colorbar(ScalarMappable(norm, colormap), ax=axes, label=label)  # opaque


def _draw_categories(
    ax: Axes, x: np.ndarray, y: np.ndarray, codes: np.ndarray, colours: Colours
) -> None:
    for code in np.unique(codes):
        of_category = codes == code
        style = _STYLE | _look(code, colours, ink(ax))
        ax.scatter(x[of_category], y[of_category], **style)


def _look(code: int, colours: Colours, black: Any) -> dict[str, Any]:
    assert colours.names is not None
    if code < 0:
        return {"color": GREY, "label": "none"}
    if colours.palette is not None:
        return {"color": colours.palette[code], "label": colours.names[code]}
    # Of more categories than colours, the marker tells.
    marker = _MARKERS[code // (len(_COLOURS) + 1) % len(_MARKERS)]
    color = [*_COLOURS, black][code % (len(_COLOURS) + 1)]
    return {"color": color, "marker": marker, "label": colours.names[code]}
