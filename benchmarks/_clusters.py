"""Known labels: cells to cluster, and how well the labels are found again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import scanpy as sc
from _data import draw_cells, keep_detected_genes, read_counts
from _scores import LABELS, log_cp10k
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from sklearn.neighbors import NearestNeighbors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _peers import Imputed
    from _scores import Row
    from numpy.typing import NDArray

    FloatArray = NDArray[np.floating]

PCS, LATENT = "PCA", "latent"

_N_GENES, _N_PCS, _N_NEIGHBOURS = 2_000, 30, 15
_RESOLUTIONS = np.linspace(0.2, 1.6, 8)
_SEARCHED = 0.001, 5.0
_MAX_BISECTIONS = 15


def labelled_cells(folder: Path, name: str) -> ad.AnnData:
    """Counts of one data set with `obs["labels"]`, without what may be two cells."""
    adata = read_counts(folder, name)
    if "possible_doublet" in adata.obs:
        adata = adata[~adata.obs["possible_doublet"].to_numpy(dtype=bool)].copy()
    obs = adata.obs[["label"]].astype(str).rename(columns={"label": LABELS})
    return ad.AnnData(adata.X, obs=obs, var=adata.var[[]])


def draw_labelled_cells(cells: ad.AnnData, share: float, seed: int) -> ad.AnnData:
    """A random draw of cells with its detected genes; scores repeat by the same seed."""
    adata = keep_detected_genes(draw_cells(cells, round(share * cells.n_obs), seed))
    adata.uns["seed"] = seed
    return adata


def cluster_scores(adata: ad.AnnData, imputed: Imputed, *, has_posterior: bool) -> list[Row]:
    """Scores of the imputed matrix, and of the method's own latent where there is one."""
    seed = int(adata.uns["seed"])
    expression = log_cp10k(imputed.rates)[:, variable_genes(adata)]
    pca = PCA(min(_N_PCS, *expression.shape), svd_solver="randomized", random_state=seed)
    representations = {PCS: pca.fit_transform(expression), LATENT: imputed.latent}
    labels = adata.obs[LABELS].to_numpy(dtype=str)
    return [
        {"line": name, **label_scores(np.asarray(cells, dtype=np.float32), labels, seed)}
        for name, cells in representations.items()
        if cells is not None
    ]


def variable_genes(adata: ad.AnnData) -> NDArray[np.bool_]:
    """Highly variable genes of the raw counts: the same for every method."""
    raw = ad.AnnData(adata.X.copy(), var=adata.var[[]])
    sc.pp.normalize_total(raw, target_sum=1e4)
    sc.pp.log1p(raw)
    sc.pp.highly_variable_genes(raw, n_top_genes=min(_N_GENES, raw.n_vars), flavor="seurat")
    return raw.var["highly_variable"].to_numpy()


def label_scores(cells: FloatArray, labels: NDArray[np.str_], seed: int) -> Row:
    """Agreement of labels with clusters and neighbours among cells × dimensions."""
    return {
        **_leiden_scores(cells, labels, seed),
        "knn_accuracy": knn_accuracy(cells, labels),
        "silhouette": float(silhouette_score(cells, labels)),
    }


def _leiden_scores(cells: FloatArray, labels: NDArray[np.str_], seed: int) -> Row:
    """ARI, NMI and number of clusters, means over resolutions, and two further ARI."""
    graph = ad.AnnData(cells)
    sc.pp.neighbors(graph, n_neighbors=_N_NEIGHBOURS, use_rep="X", random_state=seed)

    def leiden(resolution: float) -> NDArray[np.str_]:
        sc.tl.leiden(
            graph, resolution, flavor="igraph", n_iterations=2, directed=False, random_state=seed
        )
        return graph.obs["leiden"].to_numpy()

    clusters = [leiden(resolution) for resolution in _RESOLUTIONS]
    ari = [adjusted_rand_score(labels, c) for c in clusters]
    as_many = clusters_of_number(leiden, len(np.unique(labels)))
    return {
        "equal_ari": float(adjusted_rand_score(labels, as_many)),
        "equal_clusters": len(np.unique(as_many)),
        "ari": float(np.mean(ari)),
        "best_ari": float(np.max(ari)),
        "nmi": float(np.mean([normalized_mutual_info_score(labels, c) for c in clusters])),
        "clusters": float(np.mean([len(np.unique(c)) for c in clusters])),
    }


def clusters_of_number(
    cluster: Callable[[float], NDArray[np.str_]], number: int
) -> NDArray[np.str_]:
    """Clusters, as many as asked for or as near as bisection of the resolution comes."""
    low, high = _SEARCHED
    best, distance = np.zeros(0, dtype=str), np.inf
    for _ in range(_MAX_BISECTIONS):
        resolution = np.sqrt(low * high)
        clusters = cluster(resolution)
        n_clusters = len(np.unique(clusters))
        if abs(n_clusters - number) < distance:
            best, distance = clusters, abs(n_clusters - number)
        if n_clusters == number:
            break
        low, high = (resolution, high) if n_clusters < number else (low, resolution)
    return best


def knn_accuracy(cells: FloatArray, labels: NDArray[np.str_]) -> float:
    """Share of cells whose label is the most frequent among their neighbours, itself left out."""
    names, codes = np.unique(labels, return_inverse=True)
    graph = NearestNeighbors(n_neighbors=_N_NEIGHBOURS).fit(cells).kneighbors_graph()
    votes = graph @ np.eye(len(names))[codes]
    return float(np.mean(votes.argmax(axis=1) == codes))
