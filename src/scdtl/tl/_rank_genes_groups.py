"""rank_genes_groups(): marker genes from counts, in scanpy's format."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd
from scipy import stats

from scdtl.data._checks import check_input
from scdtl.tl._quasi_likelihood import compare, sums_of_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scdtl.tl._quasi_likelihood import Sums

Correction = Literal["benjamini-hochberg", "bonferroni"]

_DTYPES = {
    "names": "O",
    "scores": "float32",
    "logfoldchanges": "float32",
    "pvals": "float64",
    "pvals_adj": "float64",
}


def rank_genes_groups(
    adata: AnnData,
    groupby: str,
    *,
    groups: Literal["all"] | Sequence[str] = "all",
    reference: str = "rest",
    n_genes: int | None = None,
    rankby_abs: bool = False,
    pts: bool = False,
    key_added: str = "rank_genes_groups",
    copy: bool = False,
    corr_method: Correction = "benjamini-hochberg",
    layer: str | None = None,
) -> AnnData | None:
    r"""Rank genes for groups of cells by a test of the raw counts, never of imputed values.

    Imputed values, and draws from their posterior too, share molecules between cells and genes:
    a test on them takes that for evidence. This one is a moderated quasi-likelihood test of the
    counts given each cell's depth (see Notes). It keeps its error rate where groups differ in
    depth, where Wilcoxon's test of log-normalised values does not.

    Arguments and results are those of :func:`scanpy.tl.rank_genes_groups`, so that scanpy's
    plots and :func:`scanpy.get.rank_genes_groups_df` read them.

    Parameters
    ----------
    adata
        Cells × genes with raw counts.
    groupby
        Column of ``obs`` with the group of each cell. If the groups are clusters of the same
        counts, p-values are too small, as for every test.
    groups
        Groups to test; ``"all"`` for all.
    reference
        ``"rest"`` compares each group with all cells of other groups, the name of a group with
        that one.
    n_genes
        How many genes to list; ``None`` for all.
    rankby_abs
        Rank by the absolute score.
    pts
        Also give the fraction of cells that express each gene.
    key_added
        Where in ``uns`` the result goes.
    copy
        Return a new AnnData and leave ``adata`` as it is.
    corr_method
        ``"benjamini-hochberg"`` or ``"bonferroni"``.
    layer
        Layer with the raw counts; ``None`` for ``adata.X``.

    Returns
    -------
    ``None``, or a new AnnData with ``copy=True``. ``uns[key_added]`` holds, as scanpy's, record
    arrays with a field per group, sorted by score: ``names``, ``scores`` (signed root of the
    likelihood ratio), ``logfoldchanges`` (log2 of the ratio of rates, half a molecule added to
    each), ``pvals``, ``pvals_adj``, and ``params``; with ``pts=True`` the tables ``pts`` and
    ``pts_rest``.

    Raises
    ------
    ValueError, TypeError, KeyError
        If the layer does not hold raw counts, a group is unknown, or one has fewer than two
        cells with counts.

    Notes
    -----
    For molecules :math:`S_k` of a gene among :math:`T_k` of all genes in group k, the Poisson
    likelihood ratio :math:`2 \sum_k S_k \log (m_k / m)` of the rates :math:`m_k = S_k / T_k`
    against their common rate is divided by the over-dispersion that the cells show, moderated
    towards one dispersion per gene; its signed root is compared with a t distribution. Cells are
    the units: with several donors per condition, sum the counts per donor first.

    References
    ----------
    McCullagh and Nelder, Generalized Linear Models, 2nd edition (1989), chapter 9.

    Lund et al., Statistical Applications in Genetics and Molecular Biology 11 (2012): moderated
    quasi-likelihood for RNA-seq.

    Examples
    --------
    >>> import scanpy as sc
    >>> import scdtl
    >>> adata = scdtl.datasets.pbmc68k_counts()
    >>> scdtl.tl.rank_genes_groups(adata, "bulk_labels")
    >>> table = sc.get.rank_genes_groups_df(adata, "CD19+ B")
    >>> list(table["names"][:2])
    ['CD79A', 'TNFRSF13B']
    """
    counts = check_input(adata, layer=layer)
    codes, names = _groups(adata, groupby)
    chosen = _chosen(names, groups, reference)
    if corr_method not in get_args(Correction):
        known = " or ".join(map(repr, get_args(Correction)))
        raise ValueError(f"corr_method={corr_method!r} is unknown: choose {known}.")
    if n_genes is not None and (not isinstance(n_genes, int | np.integer) or n_genes < 1):
        raise ValueError(f"n_genes must be a number from 1 on, or None; got {n_genes!r}.")
    sums = dict(zip(names, sums_of_groups(counts, codes), strict=True))
    total = reduce(add, sums.values())
    pairs = {
        name: (sums[name], total - sums[name] if reference == "rest" else sums[reference])
        for name in chosen
    }
    for name, pair in pairs.items():
        if min(group.n_cells for group in pair) < 2:
            other = "the rest" if reference == "rest" else repr(reference)
            raise ValueError(
                f"group {name!r} and {other} have {' and '.join(str(g.n_cells) for g in pair)} "
                "cells with counts: a test needs two of each."
            )
    tables = {
        name: _table(pair, adata.var_names, n_genes, rankby_abs, corr_method)
        for name, pair in pairs.items()
    }
    entry: dict = {
        "params": {
            "groupby": groupby,
            "reference": reference,
            "method": "quasi-likelihood",
            "use_raw": False,
            "layer": layer,
            "corr_method": corr_method,
        }
    }
    if pts:
        genes = adata.var_names
        shares = {name: [group.expressing for group in pair] for name, pair in pairs.items()}
        entry["pts"] = pd.DataFrame({name: of[0] for name, of in shares.items()}, genes)
        if reference != "rest":
            entry["pts"][reference] = sums[reference].expressing
        else:
            entry["pts_rest"] = pd.DataFrame({name: of[1] for name, of in shares.items()}, genes)
    for column, dtype in _DTYPES.items():
        frame = pd.DataFrame({name: table[column].to_numpy() for name, table in tables.items()})
        entry[column] = frame.to_records(index=False, column_dtypes=dtype)
    result = adata.copy() if copy else adata
    result.uns[key_added] = entry
    return result if copy else None


def _groups(adata: AnnData, groupby: str) -> tuple[np.ndarray, list[str]]:
    """Code of each cell's group, negative for none, and the groups' names."""
    if groupby not in adata.obs:
        raise KeyError(
            f"obs has no column {groupby!r}; it has: {', '.join(map(str, adata.obs)) or 'none'}."
        )
    column = adata.obs[groupby].astype("category").cat.remove_unused_categories()
    names = [str(name) for name in column.cat.categories]
    if len(set(names)) < len(names):
        raise ValueError(f"obs[{groupby!r}] has groups of the same name, as texts: rename them.")
    if len(names) < 2:
        raise ValueError(f"obs[{groupby!r}] has {len(names)} group: a test compares two.")
    return column.cat.codes.to_numpy(), names


def _chosen(names: list[str], groups: Literal["all"] | Sequence[str], reference: str) -> list[str]:
    if isinstance(groups, str) and groups != "all":
        raise ValueError(f"groups must be 'all' or a list of groups, as [{groups!r}].")
    if not isinstance(groups, Iterable):
        raise ValueError(f"groups must be 'all' or a list of groups, not {groups!r}.")
    wanted = names if isinstance(groups, str) else [str(name) for name in groups]
    is_rest = reference == "rest"  # also where a group has that name, as in scanpy
    unknown = [name for name in wanted if name not in names]
    unknown += [] if is_rest or reference in names else [reference]
    if unknown:
        raise ValueError(f"unknown group {', '.join(unknown)}; known are: {', '.join(names)}.")
    chosen = wanted if is_rest else [name for name in wanted if name != reference]
    if not chosen:
        raise ValueError("groups names no group to test.")
    return chosen


def _table(
    pair: tuple[Sums, Sums],
    genes: pd.Index,
    n_genes: int | None,
    rankby_abs: bool,
    corr_method: Correction,
) -> pd.DataFrame:
    """Result of one comparison, the best gene first."""
    table = pd.DataFrame(compare(*pair)._asdict()).assign(names=np.asarray(genes, dtype=object))
    pvals = table["pvals"].to_numpy()
    table["pvals_adj"] = (
        stats.false_discovery_control(pvals)
        if corr_method == "benjamini-hochberg"
        else np.minimum(pvals * len(pvals), 1)
    )
    by = table["scores"].abs() if rankby_abs else table["scores"]
    return table.iloc[np.argsort(-by.to_numpy(), kind="stable")[:n_genes]]
