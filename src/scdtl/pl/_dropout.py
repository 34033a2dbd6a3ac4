"""Dropouts: which zeros are likely ones, and which stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scdtl._constants import DEFAULT_KEY
from scdtl.pl._axes import BLUE, GREY, ORANGE, one_panel
from scdtl.pl._imputed import check_imputed, column, columns_of, counts_of, results

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

_PARTS = {"detected": BLUE, "likely dropout": ORANGE, "zero that stays": GREY}


def dropout(
    adata: AnnData,
    genes: str | Sequence[str] | None = None,
    *,
    groupby: str | None = None,
    key: str = DEFAULT_KEY,
    layer: str | None = None,
    threshold: float | None = None,
    n_genes: int = 20,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw in how many cells a gene is detected, likely dropped out, or likely absent.

    There is a bar per gene or, for a single gene with ``groupby``, per group of cells. In a cell
    type that expresses the gene, most of its zeros should be likely dropouts; in other types they
    should stay.

    Parameters
    ----------
    adata
        Imputed by :func:`scdtl.pp.impute` with ``return_dropout=True``.
    genes
        A gene, or a list of them; ``None`` for those with the largest number of likely dropouts.
    groupby
        Column of ``obs`` whose groups get a bar each.
    key
        Name of the results, its ``key_added``.
    layer
        Layer with the raw counts; ``None`` for the one that was imputed.
    threshold
        Probability above which a zero is a likely dropout; ``None`` for the
        ``dropout_threshold`` of the run.
    n_genes
        How many genes to draw where none are named.
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
        If there are no results of that name or no probabilities of dropouts, or a gene, layer or
        column is unknown.
    ValueError
        If the layer does not hold raw counts, ``groupby`` is not given with a single gene, or
        there is no gene to draw.

    Examples
    --------
    >>> import scdtl
    >>> adata = scdtl.datasets.toy()
    >>> scdtl.pp.impute(adata, bulk=None, max_epochs=1, return_dropout=True, verbose=False)
    >>> axes = scdtl.pl.dropout(adata, n_genes=10, show=False)
    >>> axes = scdtl.pl.dropout(adata, "GENE0", groupby="cell_type", show=False)
    """
    entry = results(adata, key)
    if groupby is not None:
        _check_groups(adata, genes, groupby)
    if n_genes < 1:
        raise ValueError(f"n_genes must be at least 1, not {n_genes}.")
    if f"{key}_dropout" not in adata.layers:
        raise KeyError(
            f"{key + '_dropout'!r} is not in adata.layers: run scdtl.pp.impute with "
            "return_dropout=True."
        )
    counts, chance = counts_of(adata, entry, layer), adata.layers[f"{key}_dropout"]
    threshold = entry["params"]["dropout_threshold"] if threshold is None else threshold
    if genes is None:
        n_likely = np.asarray((chance > threshold).sum(axis=0)).ravel()
        positions = np.argsort(-n_likely, kind="stable")[:n_genes]
    else:
        names = [genes] if isinstance(genes, str) else genes
        positions = columns_of(adata.var_names, names)
        check_imputed(entry["params"], names)
    parts = [_parts(column(counts, at), column(chance, at), threshold) for at in positions]
    if groupby is None:
        rows = list(adata.var_names[positions].astype(str))
        shares = np.array([of_gene.mean(0) for of_gene in parts])
    else:
        groups = adata.obs[groupby].astype("category").cat.remove_unused_categories().cat
        rows = list(groups.categories.astype(str))
        codes = groups.codes.to_numpy()
        shares = np.array([parts[0][codes == code].mean(0) for code in range(len(rows))])
    with one_panel(ax, show, save, size=(5, 2 + 0.26 * len(rows))) as ax:
        left = np.zeros(len(rows))
        for (label, colour), share in zip(_PARTS.items(), 100 * shares.T, strict=True):
            ax.barh(rows, share, left=left, color=colour, label=label)
            left += share
        ax.margins(y=0.02)
        ax.invert_yaxis()
        ax.set(xlabel="% of cells", xlim=(0, 100))
        if groupby is not None:
            ax.set_ylabel(groupby)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(
            frameon=False,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            alignment="left",
            title=genes if isinstance(genes, str) else None,
        )
    return ax


def _check_groups(adata: AnnData, genes: object, groupby: str) -> None:
    if not isinstance(genes, str):
        raise ValueError("groupby is for one gene: give it by its name, as genes='CD3D'.")
    if groupby not in adata.obs:
        there = ", ".join(map(str, adata.obs.columns)) or "none"
        raise KeyError(f"groupby {groupby!r} is not a column of adata.obs; there are: {there}.")


def _parts(counts: np.ndarray, chance: np.ndarray, threshold: float) -> np.ndarray:
    """Cells × detected, likely dropout, zero that stays."""
    is_detected = counts > 0
    is_likely = ~is_detected & (chance > threshold)
    return np.column_stack([is_detected, is_likely, ~is_detected & ~is_likely])
