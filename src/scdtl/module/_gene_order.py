"""The order of the genes along the U-Net: neighbours are co-expressed."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.cluster.hierarchy import leaves_list, linkage
from sklearn.cluster import MiniBatchKMeans
from sklearn.utils.extmath import randomized_svd

_GENES_PER_CLUSTER = 32
_N_COMPONENTS = 20
MAX_CELLS = 10_000


def order_by_similarity(vectors: np.ndarray) -> np.ndarray:
    """Permutation that puts genes with similar vectors next to each other.

    Genes are clustered by direction (k-means), the clusters are sorted by the leaves of a
    hierarchical clustering of their centres: cost grows linearly with the number of genes.

    Parameters
    ----------
    vectors
        Genes × dimensions.
    """
    n_clusters = len(vectors) // _GENES_PER_CLUSTER
    if n_clusters < 2:
        return np.arange(len(vectors))
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    clusters = MiniBatchKMeans(
        n_clusters, random_state=0, n_init=1, max_iter=20, batch_size=4096
    ).fit(directions)
    leaves = leaves_list(linkage(clusters.cluster_centers_, "average"))
    return np.argsort(np.argsort(leaves)[clusters.labels_], kind="stable")


def gene_vectors(counts: sparse.csr_matrix) -> np.ndarray:
    """Loadings of genes on the leading components of log-normalised counts.

    Parameters
    ----------
    counts
        Counts, cells × genes; no more than ``MAX_CELLS`` cells are needed.
    """
    n_components = min(_N_COMPONENTS, min(counts.shape) - 1)
    if n_components < 1:
        return np.zeros((counts.shape[1], 1), dtype=np.float32)
    library_size = np.maximum(np.asarray(counts.sum(1)).ravel(), 1)
    log_normalised = sparse.csr_matrix(sparse.diags(1e4 / library_size) @ counts)
    np.log1p(log_normalised.data, out=log_normalised.data)
    _, singular_values, components = randomized_svd(
        log_normalised, n_components, n_iter=2, random_state=0
    )
    return components.T * singular_values


def columns_at(counts: sparse.csr_matrix, position: np.ndarray) -> sparse.csr_matrix:
    """The same counts with each gene in another column; only the column indices are new.

    Parameters
    ----------
    counts
        Counts, cells × genes.
    position
        For each gene its new column.
    """
    indices = position.astype(counts.indices.dtype)[counts.indices]
    return sparse.csr_matrix((counts.data, indices, counts.indptr), shape=counts.shape)
