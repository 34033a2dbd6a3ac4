"""The order of genes: by keys, which follow their names, and along the network."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.cluster.hierarchy import leaves_list, linkage
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import randomized_svd

from scdtl.data._cell_order import shuffled_cells
from scdtl.genes import read_name

if TYPE_CHECKING:
    from collections.abc import Sequence

_GENES_PER_CLUSTER = 32
_N_COMPONENTS = 20
MAX_CELLS = 10_000


def gene_keys(names: Sequence[str], in_bulk: Sequence[str | None] | None = None) -> np.ndarray:
    """A number for each gene that depends on its name alone, and is the same everywhere.

    What surrounds a name, as a genome does, is not part of it. Where it is all that tells genes
    apart, they are numbered in the order of their whole names. A gene that bulk knows (`in_bulk`,
    ``None`` for others) goes by bulk's name.
    """
    genes = names if in_bulk is None else [b or n for b, n in zip(in_bulk, names, strict=True)]
    bare = [read_name(str(name)).bare for name in genes]
    n_before: Counter[str] = Counter()
    for i in sorted(range(len(bare)), key=lambda i: (not (in_bulk and in_bulk[i]), str(names[i]))):
        n_before[bare[i]] += 1
        if n_before[bare[i]] > 1:
            bare[i] = f"{bare[i]}\0{n_before[bare[i]]}"
    # Surrogates are no UTF-8, but may stand in a name.
    encoded = [name.encode("utf-8", "surrogatepass") for name in bare]
    return pd.util.hash_array(np.array(encoded, dtype=object))


def cells_for_order(
    counts: sparse.csr_matrix, batch_index: np.ndarray, keys: np.ndarray
) -> np.ndarray:
    """Cells that tell how genes go together."""
    return shuffled_cells(counts, batch_index, keys, 0)[:MAX_CELLS]


def network_order(
    counts: sparse.csr_matrix,
    batch_index: np.ndarray,
    keys: np.ndarray,
    has_counts: np.ndarray,
    bulk_rank: np.ndarray | None = None,
) -> np.ndarray:
    """Permutation of the genes for the network, whose neighbours are co-expressed.

    It does not depend on how cells and genes are sorted. Genes without counts come last.

    Parameters
    ----------
    bulk_rank
        For each gene its rank along the genes of bulk, -1 where bulk does not know it: such a
        gene comes after the known one that it is most correlated with. ``None`` without bulk.
    """
    by_key = np.argsort(keys)
    counted = has_counts[by_key]
    genes = by_key[counted]
    cells = cells_for_order(counts, batch_index, keys)
    sample = _sorted_by_key(counts[cells], keys)[:, counted]
    if bulk_rank is None:
        order = order_by_similarity(gene_vectors(sample))
    else:
        order = _order_of_bulk(bulk_rank[genes], sample)
    return np.concatenate([genes[order], by_key[~counted]])


def in_network_order(
    counts: sparse.csr_matrix, keys: np.ndarray, order: np.ndarray
) -> sparse.csr_matrix:
    """Counts with genes in the order of the network; the entries of a cell are stored by key.

    So what is drawn for them in turn does not depend on how genes are sorted.
    """
    return columns_at(_sorted_by_key(counts, keys), np.argsort(order)[np.argsort(keys)])


def columns_at(counts: sparse.csr_matrix, position: np.ndarray) -> sparse.csr_matrix:
    """The same counts with each gene at its position; only the column indices are new."""
    indices = position.astype(counts.indices.dtype)[counts.indices]
    return sparse.csr_matrix((counts.data, indices, counts.indptr), shape=counts.shape)


def _sorted_by_key(counts: sparse.csr_matrix, keys: np.ndarray) -> sparse.csr_matrix:
    counts = columns_at(counts, np.argsort(np.argsort(keys)))
    counts.sum_duplicates()
    return counts


def _order_of_bulk(rank: np.ndarray, counts: sparse.csr_matrix) -> np.ndarray:
    known, unknown = np.flatnonzero(rank >= 0), np.flatnonzero(rank < 0)
    place = np.maximum(rank, 0).astype(float)
    if len(unknown) and len(known):
        directions = normalize(gene_vectors(counts))
        nearest = pairwise_distances_argmin(directions[unknown], directions[known])
        place[unknown] = place[known][nearest] + 0.5
    return np.argsort(place, kind="stable")


def order_by_similarity(vectors: np.ndarray) -> np.ndarray:
    """Permutation that puts genes with similar vectors (genes × dimensions) next to each other.

    Genes are clustered by direction (k-means), the clusters are sorted by the leaves of a
    hierarchical clustering of their centres: cost grows linearly with the number of genes.
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
    """Loadings of genes on the leading components of log-normalised counts."""
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
