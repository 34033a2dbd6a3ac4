"""Observed against imputed expression, gene by gene and gene against gene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scdtl._constants import DEFAULT_KEY
from scdtl.pl._axes import GREY, N_COLUMNS, PANEL_SIZE, one_panel, panels
from scdtl.pl._imputed import (
    check_imputed,
    column,
    columns_of,
    counts_of,
    part_of_results,
    results,
)
from scdtl.pl._points import Colours, colours_of_column, draw_cells, is_gene, legend_size

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from scdtl.pl._points import Points

_UNITS = {
    "log1p": ("log1p CP10k", "log1p CP10k"),
    "expected_log1p": ("log1p CP10k", "expected log1p CP10k"),
    "normalized": ("CP10k", "CP10k"),
    "counts": ("counts", "counts"),
}


def observed_vs_imputed(
    adata: AnnData,
    genes: str | Sequence[str],
    *,
    key: str = DEFAULT_KEY,
    layer: str | None = None,
    color: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes | list[Axes]:
    """Draw imputed against observed expression of genes, a point per cell and a panel per gene.

    Observed counts are brought to the scale of the imputed layer: log1p of counts per 10,000
    unless :func:`scdtl.pp.impute` was asked for another one. On the dashed line, the two are
    equal. Impute with ``scale="expected_log1p"`` to compare them: the default, the logarithm of a
    mean, is above the mean of the observed logarithms wherever most counts are zero.

    Parameters
    ----------
    adata
        Imputed by :func:`scdtl.pp.impute`.
    genes
        A gene, or a list of them.
    key
        Name of the results, its ``key_added``.
    layer
        Layer with the raw counts; ``None`` for the one that was imputed.
    color
        Column of ``obs``, or a gene, whose imputed expression is shown. Categories get a legend
        and the colours in ``uns[f"{color}_colors"]``, if present; numbers a colour bar.
    ax
        Where to draw a single gene; ``None`` for a new figure.
    show
        Show the figure; ``None`` does so in interactive sessions only.
    save
        File to save the figure to.

    Returns
    -------
    The axes of a gene, or a list of axes for a list of genes.

    Raises
    ------
    KeyError
        If there are no results of that name, or a gene, layer or colour is unknown.
    ValueError
        If the layer does not hold raw counts, or ``ax`` is given for a list of genes.

    Examples
    --------
    >>> import scdtl
    >>> adata = scdtl.datasets.toy()
    >>> scdtl.pp.impute(adata, bulk=None, max_epochs=1, verbose=False)
    >>> axes = scdtl.pl.observed_vs_imputed(adata, ["GENE0", "GENE1"], show=False)
    """
    names = [genes] if isinstance(genes, str) else list(genes)
    if ax is not None and not isinstance(genes, str):
        raise ValueError("ax is for one gene, given by its name; leave it out for a list of them.")
    expression, (observed_unit, imputed_unit), colours = _read(adata, names, color, key, layer)
    if colours is not None:
        colours = colours._replace(values=colours.values[-1:])
    labels = {
        "xlabel": f"observed ({observed_unit})",
        "ylabel": f"imputed ({imputed_unit})",
    }
    if isinstance(genes, str):
        to_the_right, below = legend_size(colours, 4)
        with one_panel(ax, show, save, (4 + to_the_right, 4 + below)) as ax:
            _compare([ax], names, expression, labels, colours)
        return ax
    width = PANEL_SIZE * min(len(names), N_COLUMNS)
    with panels(len(names), show, save, legend_size(colours, width)) as axes:
        _compare(axes, names, expression, labels, colours)
    return axes


def gene_scatter(
    adata: AnnData,
    x: str,
    y: str,
    *,
    key: str = DEFAULT_KEY,
    layer: str | None = None,
    color: str | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
) -> list[Axes]:
    """Draw one gene against another, observed on the left and imputed on the right.

    Observed counts are brought to the scale of the imputed layer. To compare the two panels, which
    have the same axes, impute with ``scale="expected_log1p"``, for the reason given at
    :func:`scdtl.pl.observed_vs_imputed`.

    Parameters
    ----------
    adata
        Imputed by :func:`scdtl.pp.impute`.
    x
        Gene on the horizontal axis.
    y
        Gene on the vertical axis.
    key
        Name of the results, its ``key_added``.
    layer
        Layer with the raw counts; ``None`` for the one that was imputed.
    color
        Column of ``obs``, or a gene: its observed expression on the left, imputed on the right.
        Categories get a legend and the colours in ``uns[f"{color}_colors"]``, if present;
        numbers a colour bar.
    show
        Show the figure; ``None`` does so in interactive sessions only.
    save
        File to save the figure to.

    Returns
    -------
    The axes of the observed and of the imputed expression.

    Raises
    ------
    KeyError
        If there are no results of that name, or a gene, layer or colour is unknown.
    ValueError
        If the layer does not hold raw counts.

    Notes
    -----
    Imputation shares information between cells and genes, so genes correlate more afterwards: the
    figure shows the model's predictions and does not test them.

    Examples
    --------
    >>> import scdtl
    >>> adata = scdtl.datasets.toy()
    >>> scdtl.pp.impute(adata, bulk=None, max_epochs=1, verbose=False)
    >>> axes = scdtl.pl.gene_scatter(adata, "GENE0", "GENE1", color="cell_type", show=False)
    """
    expression, units, colours = _read(adata, [x, y], color, key, layer)
    (observed_x, imputed_x), (observed_y, imputed_y) = expression
    with panels(2, show, save, legend_size(colours, 2 * PANEL_SIZE)) as axes:
        draw_cells(axes, [(observed_x, observed_y), (imputed_x, imputed_y)], colours)
        for ax, title, unit in zip(axes, ("observed", "imputed"), units, strict=True):
            ax.set(title=title, xlabel=f"{x} ({unit})", ylabel=f"{y} ({unit})")
            ax.spines[["top", "right"]].set_visible(False)
            ax.set(xlim=_range_of(axes, "x"), ylim=_range_of(axes, "y"))
    return axes


def _range_of(axes: list[Axes], *names: str) -> tuple[float, float]:
    """What holds the axes of these names on all panels, so that lengths can be compared."""
    limits = np.array([getattr(ax, f"get_{name}lim")() for ax in axes for name in names])
    return limits.min(), limits.max()


def _compare(
    axes: list[Axes],
    names: list[str],
    expression: Points,
    labels: dict[str, Any],
    colours: Colours | None,
) -> None:
    draw_cells(axes, expression, colours)
    for ax, name in zip(axes, names, strict=True):
        ax.axline((0, 0), slope=1, color=GREY, linestyle="--", linewidth=0.8, zorder=0)
        ax.set(title=name, **labels)
        limits = _range_of([ax], "x", "y")
        ax.set(xlim=limits, ylim=limits)
        ax.spines[["top", "right"]].set_visible(False)


def _read(
    adata: AnnData, genes: list[str], color: str | None, key: str, layer: str | None
) -> tuple[Points, tuple[str, str], Colours | None]:
    """Observed and imputed expression of each gene, the units of both, and the cells' colours."""
    entry = results(adata, key)
    positions = columns_of(adata.var_names, genes)
    gene_of_color = [color] if color is not None and is_gene(adata, color) else []
    if gene_of_color:
        positions = np.append(positions, columns_of(adata.var_names, gene_of_color))
    check_imputed(entry["params"], [*genes, *gene_of_color])
    imputed = part_of_results(adata, "layers", key)
    counts = counts_of(adata, entry, layer)
    library_size = np.asarray(counts.sum(axis=1), dtype=float).ravel()
    scale, size = entry["params"]["scale"], entry["params"].get("library_size")
    expression = [
        (_on_scale(column(counts, at), library_size, scale, size), column(imputed, at))
        for at in positions
    ]
    colours = None
    if gene_of_color:
        colours = Colours(f"{color} ({_UNITS[scale][1]})", list(expression.pop()))
    elif color is not None:
        colours = colours_of_column(adata, color)
    return expression, _UNITS[scale], colours


def _on_scale(counts: np.ndarray, library_size: np.ndarray, scale: str, size: Any) -> np.ndarray:
    """Observed values in the unit of the imputed ones; `size` is the run's library size."""
    if scale == "counts":
        return counts if size is None else counts * (size / np.maximum(library_size, 1))
    per_10k = counts * (1e4 / np.maximum(library_size, 1))
    return per_10k if scale == "normalized" else np.log1p(per_10k)
