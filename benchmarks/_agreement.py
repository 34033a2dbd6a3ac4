"""Imputed cells against truth from other samples: sorted bulk, and marker genes of other cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
from _clusters import labelled_cells
from _data import keep_detected_genes
from _posterior import rescale
from _scores import LABELS, MARKERS, lines, log_cp10k
from scipy.stats import rankdata

from scdtl import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _peers import Imputed
    from _scores import Row
    from numpy.typing import NDArray

    FloatArray = NDArray[np.floating]

_N_MARKERS, _MIN_MARKERS = 100, 10
_FDR = 0.01
_ROUNDING = 1e-6


class Panel(NamedTuple):
    """Which bulk profile is that of which cells; a table each, as tables differ in their units."""

    dataset: str
    bulk_of_label: dict[str, str]


_CD4 = dict.fromkeys(["memoryt", "naivet", "thelper", "regulatoryt"], "CD4")
_CD8 = dict.fromkeys(["cytotoxict", "naivecytotoxic"], "CD8")
PANELS = {
    "immune_sorted_gse60424": Panel(
        "pbmc_sorted_10x",
        {"monocytes": "Monocytes", "bcells": "B-cells", "nk": "NK", **_CD4, **_CD8},
    ),
    "hematopoietic_sorted": Panel(
        "pbmc_sorted_10x", {"monocytes": "MONO", "bcells": "B", "nk": "NK", **_CD4, **_CD8}
    ),
    # H1 are embryonic stem cells, pluripotent as iPS cells are.
    "encode_4_cell_lines": Panel(
        "pollen_11types_smarter", {"K562": "K562 cell line", "iPS": "H1 cell line"}
    ),
    "bluecode_celltypes": Panel(
        "pollen_11types_smarter",
        {"Kera": "Hair.follicular.keratinocyte", "BJ": "Fibroblast.or.papilla.dermal.cell"},
    ),
}


# Bulk profiles of the cells' types


def with_bulk(folder: Path, bulk_folder: Path, name: str) -> ad.AnnData:
    """All cells; bulk profiles in `varm`, where methods do not see them, and types in `obs`."""
    adata = keep_detected_genes(labelled_cells(folder, name))
    for table, panel in PANELS.items():
        if panel.dataset == name:
            bulk = bulk_profiles(bulk_folder, table, list(panel.bulk_of_label.values()))
            adata.varm[table] = bulk.reindex(adata.var_names)
            adata.obs[table] = [panel.bulk_of_label.get(v, "") for v in adata.obs[LABELS]]
    return adata


def bulk_profiles(folder: Path, table: str, types: list[str]) -> pd.DataFrame:
    """Mean counts per million of each type's samples, genes × types."""
    bulk = ad.read_h5ad(folder / f"{table}.h5ad")
    cpm = _per_million(np.asarray(bulk.X, dtype=np.float64))
    samples = pd.DataFrame(cpm, index=bulk.obs["tissue"].astype(str), columns=bulk.var_names)
    return samples.groupby(level=0).mean().loc[list(dict.fromkeys(types))].T


def _per_million(values: FloatArray) -> FloatArray:
    return rescale(values, np.full(len(values), 1e6))


def bulk_scores(adata: ad.AnnData, imputed: Imputed, *, has_posterior: bool) -> list[Row]:
    """Correlation of each cell with the bulk profile of its type, one row for each table."""
    counts = adata.X.toarray().astype(np.float64)
    rows: list[Row] = []
    for name, expected in lines(counts, imputed, has_posterior=has_posterior):
        for table, bulk in adata.varm.items():
            shared = bulk.notna().all(axis=1).to_numpy()
            own = bulk.columns.get_indexer(adata.obs[table])
            cells = expected.mean[np.ix_(own >= 0, shared)].astype(np.float64)
            profiles = bulk.to_numpy(dtype=np.float64)[shared].T
            scores = profile_scores(
                np.log1p(_per_million(cells)), np.log1p(_per_million(profiles)), own[own >= 0]
            )
            rows.append({"line": name, "bulk": table, **scores})
    return rows


def profile_scores(cells: FloatArray, bulk: FloatArray, own: NDArray[np.integer]) -> Row:
    """Medians over cells of the correlation of whole profiles, and of what is special to a type.

    That is the deviation from the mean over types, of bulk profiles and of the types' mean cells.
    """
    centre = np.mean([cells[own == i].mean(axis=0) for i in np.unique(own)], axis=0)
    deviations = cells - centre
    deviations[np.abs(deviations) < _ROUNDING] = 0  # where all cells are the same
    bulk_deviations = bulk - bulk.mean(axis=0)
    return {
        "profile_pearson": _median_r(cells, bulk, own),
        "profile_spearman": _median_r(_ranks(cells), _ranks(bulk), own),
        "special_pearson": _median_r(deviations, bulk_deviations, own),
        "special_spearman": _median_r(_ranks(deviations), _ranks(bulk_deviations), own),
    }


def _ranks(values: FloatArray) -> FloatArray:
    return rankdata(values, axis=1)


def _median_r(cells: FloatArray, bulk: FloatArray, own: NDArray[np.integer]) -> float:
    r = metrics.pearson(bulk[own], cells, axis=1)
    return float(np.nanmedian(r)) if np.isfinite(r).any() else np.nan


# Markers of one half of the cells, found again in the other


def with_markers(folder: Path, name: str, depth: float, seed: int) -> ad.AnnData:
    """Half of each group's cells, thinned; `varm` has the markers of the other half."""
    cells = labelled_cells(folder, name)
    chosen = _half_of_each(cells.obs[LABELS].to_numpy(), seed)
    whole, thinned = cells[~chosen].copy(), cells[chosen].copy()
    thinned.X.data = (
        np.random.default_rng(seed).binomial(thinned.X.data.astype(np.int64), depth)
    ).astype(np.float32)
    thinned.X.eliminate_zeros()
    detected = keep_detected_genes(thinned).var_names
    detected = detected.intersection(keep_detected_genes(whole).var_names, sort=False)
    thinned = thinned[:, detected].copy()
    thinned.varm[MARKERS] = markers(whole, detected)
    return thinned


def _half_of_each(labels: NDArray[np.str_], seed: int) -> NDArray[np.bool_]:
    random = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        chosen[members[: len(members) // 2]] = True
    return chosen


def markers(cells: ad.AnnData, genes: pd.Index) -> pd.DataFrame:
    """The genes with the largest fold change of those that a Wilcoxon test finds, by group.

    Groups with too few such genes are left out.
    """
    import scanpy as sc

    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    cells = cells[:, genes].copy()
    cells.obs[LABELS] = cells.obs[LABELS].astype("category")
    sc.tl.rank_genes_groups(cells, LABELS, method="wilcoxon")
    found = {}
    for group in cells.obs[LABELS].cat.categories:
        table = sc.get.rank_genes_groups_df(cells, group, pval_cutoff=_FDR, log2fc_min=0)
        top = table.nlargest(_N_MARKERS, "logfoldchanges")["names"]
        if len(top) >= _MIN_MARKERS:
            found[group] = genes.isin(top)
    return pd.DataFrame(found, index=genes)


def marker_scores(adata: ad.AnnData, imputed: Imputed, *, has_posterior: bool) -> list[Row]:
    """Average precision of genes ranked by the difference of mean log1p(CP10k) to the rest."""
    from sklearn.metrics import average_precision_score

    truth = adata.varm[MARKERS]
    counts = adata.X.toarray().astype(np.float64)
    rows: list[Row] = []
    for name, expected in lines(counts, imputed, has_posterior=has_posterior):
        differences = group_differences(log_cp10k(expected.mean), adata.obs[LABELS], truth)
        precision = [average_precision_score(truth[group], d) for group, d in differences]
        rows.append(
            {
                "line": name,
                "average_precision": float(np.mean(precision)),
                "chance": float(truth.mean().mean()),
                "groups": truth.shape[1],
            }
        )
    return rows


def group_differences(
    expression: FloatArray, labels: pd.Series, groups: pd.DataFrame
) -> Iterator[tuple[str, FloatArray]]:
    """Mean of each group less the mean of all other cells."""
    for group in groups:
        inside = (labels == group).to_numpy()
        yield group, expression[inside].mean(axis=0) - expression[~inside].mean(axis=0)
