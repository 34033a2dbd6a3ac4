"""rank_genes_groups(): marker genes from counts, in scanpy's format."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
from scipy import stats

from scdtl.data._checks import check_names
from scdtl.data._counts import find_counts
from scdtl.data._features import is_gene
from scdtl.data._raw_counts import canonical_csr, check_counts, is_own_layer
from scdtl.tl._quasi_likelihood import compare, sums_of_groups

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from scdtl.tl._quasi_likelihood import Sums

    Pairs: TypeAlias = dict[str, tuple[Sums, Sums]]

Correction = Literal["benjamini-hochberg", "bonferroni"]
Group: TypeAlias = str | float  # int and bool, too

_METHOD = "quasi-likelihood"
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
    mask_var: NDArray[np.bool_] | str | None = None,
    use_raw: bool | None = None,
    groups: Literal["all"] | Iterable[Group] = "all",
    reference: Group = "rest",
    n_genes: int | None = None,
    rankby_abs: bool = False,
    pts: bool = False,
    key_added: str | None = None,
    copy: bool = False,
    method: Literal["quasi-likelihood"] | None = None,
    corr_method: Correction = "benjamini-hochberg",
    tie_correct: bool = False,
    layer: str | None = None,
) -> AnnData | None:
    r"""Rank genes for groups of cells by a test of the raw counts, never of imputed values.

    Imputed values, and draws from their posterior, share information between cells and genes,
    which a test would mistake for evidence. This one is a moderated quasi-likelihood test of the
    counts given each cell's library size (see Notes). Where groups differ in library size it keeps
    its error rate, unlike the Wilcoxon test of log-normalised values.

    Arguments and results are those of :func:`scanpy.tl.rank_genes_groups`, so that scanpy's
    plots and :func:`scanpy.get.rank_genes_groups_df` read them.

    Parameters
    ----------
    adata
        Cells × genes with raw counts; features of other types are left out.
    groupby
        Column of ``obs`` with the group of each cell. If the groups are clusters of the same
        counts, p-values are too small, as for every test.
    mask_var
        Genes to test and to correct for: a boolean column of ``var``, or a boolean array as long
        as ``var``. A cell's library size is that of all genes.
    use_raw
        ``True`` tests the counts in ``adata.raw``. Unlike in scanpy, ``None`` means ``False``, as
        ``raw`` usually holds log-normalised values.
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
        Also compute the fraction of cells that express each gene.
    key_added
        Where in ``uns`` the result goes; ``None`` for ``"rank_genes_groups"``.
    copy
        Return a new AnnData and leave ``adata`` as it is.
    method
        ``"quasi-likelihood"``, the only one; ``None`` means the same. Scanpy's own tests are for
        log-normalised values.
    corr_method
        ``"benjamini-hochberg"`` or ``"bonferroni"``.
    tie_correct
        Only ``False``: this test does not rank cells, so there are no ties.
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
        cells with counts; for another `method`, and for ``tie_correct=True``.

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
    _check_options(method, tie_correct, corr_method, n_genes)
    counts, genes = _counts(adata, use_raw, layer)
    is_tested = _is_tested(adata, mask_var, genes)
    codes, names = _groups(adata, groupby)
    chosen, reference = _chosen(names, groups, reference)
    sums = dict(zip(names.values(), sums_of_groups(counts, codes), strict=True))
    pairs = _pairs(sums, chosen, reference)
    tables = {
        name: _table(pair, genes, is_tested, n_genes, rankby_abs, corr_method)
        for name, pair in pairs.items()
    }
    params = {
        "groupby": groupby,
        "reference": reference,
        "method": _METHOD,
        "use_raw": bool(use_raw),
        "corr_method": corr_method,
    }
    if layer is not None:  # anndata before 0.12 reads no file with a None in it
        params["layer"] = layer
    entry: dict[str, Any] = {"params": params}
    if pts:
        entry |= _expressing(pairs, sums, reference, genes, is_tested)
    for column, dtype in _DTYPES.items():
        frame = pd.DataFrame({name: table[column].to_numpy() for name, table in tables.items()})
        entry[column] = frame.to_records(index=False, column_dtypes=dtype)
    result = adata.copy() if copy else adata
    result.uns["rank_genes_groups" if key_added is None else key_added] = entry
    return result if copy else None


def _check_options(
    method: object, tie_correct: bool, corr_method: object, n_genes: object
) -> None:
    """Refuse what belongs to scanpy's own tests, and what no test can go by."""
    if method not in (None, _METHOD):
        raise ValueError(
            f"method={method!r} is not available: scdtl.tl.rank_genes_groups has one test, of "
            f"counts, method={_METHOD!r}. Scanpy's tests are of log-normalised values: call "
            "scanpy.tl.rank_genes_groups on log-normalised counts, never on imputed values."
        )
    if tie_correct:
        raise ValueError(
            "tie_correct=True is for scanpy's Wilcoxon test: this test does not rank cells, so "
            "there are no ties. Leave it out."
        )
    if corr_method not in get_args(Correction):
        known = " or ".join(map(repr, get_args(Correction)))
        raise ValueError(f"corr_method={corr_method!r} is unknown: choose {known}.")
    if n_genes is not None and (not isinstance(n_genes, int | np.integer) or n_genes < 1):
        raise ValueError(f"n_genes must be 1 or more, or None; got {n_genes!r}.")


def _counts(
    adata: AnnData, use_raw: bool | None, layer: str | None
) -> tuple[csr_matrix, pd.Index]:
    """The counts to test, and the names of their genes."""
    genes = check_names(adata, layer=layer)
    if not use_raw:
        if isinstance(layer, str) and is_own_layer(adata, layer):
            raise ValueError(
                f"adata.layers[{layer!r}] was written by scdtl.pp.impute, and imputed values are "
                "no evidence: test the raw counts that it was given. Leave layer out if they are "
                "in adata.X."
            )
        return find_counts(adata, layer, genes).checked(), adata.var_names[genes]
    if layer is not None:
        raise ValueError(f"use_raw=True and layer={layer!r} exclude each other: give one.")
    if adata.raw is None:
        raise ValueError("use_raw=True, but there is no adata.raw: leave use_raw out.")
    advice = "If they are in adata.X, leave use_raw out; if they are in a layer, pass its name."
    check_counts(adata.raw.X, name="adata.raw.X", hint=advice)
    genes = is_gene(adata.raw)
    return canonical_csr(adata.raw.X)[:, genes], adata.raw.var_names[genes]


def _is_tested(
    adata: AnnData, mask_var: NDArray[np.bool_] | str | None, genes: pd.Index
) -> NDArray[np.bool_]:
    """Whether each gene is to be tested; genes of ``raw`` go by the names in ``var``."""
    if mask_var is None:
        return np.ones(len(genes), dtype=bool)
    if isinstance(mask_var, str) and mask_var not in adata.var:
        there = ", ".join(map(str, adata.var)) or "none"
        raise KeyError(f"mask_var {mask_var!r} is not a column of var; there are: {there}.")
    mask = pd.Series(adata.var[mask_var] if isinstance(mask_var, str) else mask_var)
    if not pd.api.types.is_bool_dtype(mask.dtype) or mask.hasnans:
        raise ValueError(f"mask_var must be boolean, without missing values; got {mask.dtype}.")
    if len(mask) != adata.n_vars:
        raise ValueError(f"mask_var has {len(mask)} values for {adata.n_vars} genes.")
    is_tested = genes.isin(adata.var_names[mask.to_numpy(dtype=bool)])
    if not is_tested.any():
        raise ValueError("mask_var leaves no gene to test.")
    return is_tested


def _groups(adata: AnnData, groupby: str) -> tuple[np.ndarray, dict[Group, str]]:
    """Code of each cell's group, negative for none, and the groups with their names."""
    if groupby not in adata.obs:
        raise KeyError(
            f"groupby {groupby!r} is not a column of adata.obs; there are: "
            f"{', '.join(map(str, adata.obs)) or 'none'}."
        )
    column = adata.obs[groupby].astype("category").cat.remove_unused_categories()
    names = {group: str(group) for group in column.cat.categories}
    if len(set(names.values())) < len(names):
        raise ValueError(
            f"obs[{groupby!r}] has different groups whose names are the same text: rename them."
        )
    if len(names) < 2:
        raise ValueError(f"obs[{groupby!r}] has {len(names)} group: a test compares two.")
    return column.cat.codes.to_numpy(), names


def _chosen(
    names: dict[Group, str], groups: Literal["all"] | Iterable[Group], reference: Group
) -> tuple[list[str], str]:
    """Names of the groups to test, and of the reference."""
    if isinstance(groups, str) and groups != "all":
        raise ValueError(f"groups must be 'all' or a list of groups, as [{groups!r}].")
    if not isinstance(groups, Iterable):
        raise ValueError(f"groups must be 'all' or a list of groups, not {groups!r}.")
    # A group may be named by its value in obs or by the text that stands for it.
    groups = names if isinstance(groups, str) else groups
    wanted = [names.get(group, str(group)) for group in groups]
    is_rest = reference == "rest"  # also where a group has that name, as in scanpy
    reference = "rest" if is_rest else names.get(reference, str(reference))
    unknown = [name for name in wanted if name not in names.values()]
    unknown += [] if is_rest or reference in names.values() else [reference]
    if unknown:
        known = ", ".join(names.values())
        raise ValueError(f"unknown group {', '.join(unknown)}; known are: {known}.")
    chosen = wanted if is_rest else [name for name in wanted if name != reference]
    if not chosen:
        raise ValueError("groups names no group to test.")
    return chosen, reference


def _pairs(sums: dict[str, Sums], chosen: list[str], reference: str) -> Pairs:
    """Each chosen group, and what it is compared with."""
    is_rest = reference == "rest"
    total = reduce(add, sums.values())
    pairs = {
        name: (sums[name], total - sums[name] if is_rest else sums[reference]) for name in chosen
    }
    for name, pair in pairs.items():
        if min(group.n_cells for group in pair) < 2:
            raise ValueError(
                f"group {name!r} and {'the rest' if is_rest else repr(reference)} have "
                f"{' and '.join(str(group.n_cells) for group in pair)} cells with counts: a test "
                "needs two of each."
            )
    return pairs


def _expressing(
    pairs: Pairs,
    sums: dict[str, Sums],
    reference: str,
    genes: pd.Index,
    is_tested: NDArray[np.bool_],
) -> dict[str, pd.DataFrame]:
    """Share of cells that express each gene, in the groups and in what they are compared with."""

    def table(groups: dict[str, Sums]) -> pd.DataFrame:
        shares = {name: group.expressing[is_tested] for name, group in groups.items()}
        return pd.DataFrame(shares, genes[is_tested])

    own = {name: pair[0] for name, pair in pairs.items()}
    if reference != "rest":
        return {"pts": table(own | {reference: sums[reference]})}
    return {"pts": table(own), "pts_rest": table({name: of[1] for name, of in pairs.items()})}


def _table(
    pair: tuple[Sums, Sums],
    genes: pd.Index,
    is_tested: NDArray[np.bool_],
    n_genes: int | None,
    rankby_abs: bool,
    corr_method: Correction,
) -> pd.DataFrame:
    """Result of one comparison, the best gene first."""
    table = pd.DataFrame(compare(*pair)._asdict()).assign(names=np.asarray(genes, dtype=object))
    table = table[is_tested]
    pvals = table["pvals"].to_numpy()
    adjusted = (
        stats.false_discovery_control(pvals)
        if corr_method == "benjamini-hochberg"
        else np.minimum(pvals * len(pvals), 1)
    )
    table = table.assign(pvals_adj=adjusted)
    by = table["scores"].abs() if rankby_abs else table["scores"]
    return table.iloc[np.argsort(-by.to_numpy(), kind="stable")[:n_genes]]
