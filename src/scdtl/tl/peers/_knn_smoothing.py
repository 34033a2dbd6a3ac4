"""kNN-smoothing 2 (Wagner, Yan and Yanai, bioRxiv 217737), written anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scdtl.tl.peers._peer import Options, Peer, scaled_to_library_size

if TYPE_CHECKING:
    from anndata import AnnData

    from scdtl.tl.peers._peer import Rates


def knn_smoothing(cells: AnnData, options: Options, k: int = 15) -> Rates:
    """Sums of the counts of k + 1 cells.

    Neighbours are found step by step on ever smoother counts (median-normalised,
    Freeman-Tukey-transformed, 10 principal components); each step adds up the raw counts of a
    cell and its 1, 3, 7, ..., k neighbours.
    """
    smoothed = cells.X
    for step in range(1, int(np.ceil(np.log2(k + 1))) + 1):
        normalised = scaled_to_library_size(smoothed, np.median(np.asarray(smoothed.sum(axis=1))))
        shifted = normalised.copy()
        shifted.data = np.sqrt(normalised.data) + np.sqrt(normalised.data + 1) - 1
        smoothed = sum_of_neighbours(cells.X, shifted, min(2**step - 1, k), 10, options.seed)
    return smoothed


def sum_of_neighbours(
    counts: sparse.csr_matrix, expression: sparse.csr_matrix, k: int, n_pcs: int, seed: int
) -> sparse.csr_matrix:
    """Counts summed over each cell and its k nearest cells by expression."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    k = min(k, counts.shape[0] - 1)
    n_pcs = min(n_pcs, *(n - 1 for n in expression.shape))
    if k < 1 or n_pcs < 1:
        return counts
    components = PCA(n_pcs, svd_solver="arpack", random_state=seed).fit_transform(expression)
    graph = NearestNeighbors(n_neighbors=k).fit(components).kneighbors_graph()
    return sparse.csr_matrix((graph + sparse.eye(len(components))) @ counts, dtype=np.float32)


PEER = Peer(knn_smoothing, modules=("sklearn.decomposition", "sklearn.neighbors"))
