"""Layers as dask arrays, of which a block is imputed whenever it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array

    from scdtl.model._imputer import Imputer

_ENTRIES_PER_BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class BlockImputer:
    """Imputes a block of cells as a block of the layer, minibatch by minibatch.

    Parameters
    ----------
    imputer
        Trained network with its options.
    columns
        Positions among all features of the genes wanted; ``None`` for all.
    n_features
        Number of all features.
    stores_columns
        Whether the block is sparse, and stores the columns of the genes wanted only.
    batch_size
        Cells per minibatch.
    """

    imputer: Imputer
    columns: np.ndarray | None
    n_features: int
    stores_columns: bool
    batch_size: int

    def __call__(
        self,
        counts: sparse.csr_matrix,
        batch_index: np.ndarray,
        library_size: np.ndarray | None = None,
        return_std: bool = False,
    ) -> list[np.ndarray | sparse.csr_matrix]:
        """Imputed values and, with ``return_std``, their standard deviation; cells × all genes.

        Parameters
        ----------
        counts
            Counts of the block.
        batch_index
            Batch of each cell.
        library_size
            Depth of the result per cell; ``None`` for the cell's own.
        return_std
            Whether to give the standard deviation.
        """
        minibatches = []
        for rows in self._minibatches(counts):
            size = None if library_size is None else library_size[rows]
            minibatches.append(self.imputer(counts[rows], batch_index[rows], size, return_std))
        return [
            in_place_of(_joined(parts), self.columns, self.n_features, self.stores_columns)
            for parts in zip(*minibatches, strict=True)
        ]

    def latent(self, counts: sparse.csr_matrix, batch_index: np.ndarray) -> np.ndarray:
        """Latent of each cell.

        Parameters
        ----------
        counts, batch_index
            As in a call.
        """
        return np.concatenate(
            [
                self.imputer.latent(counts[rows], batch_index[rows])
                for rows in self._minibatches(counts)
            ]
        )

    def gives_sparse(self, part: int) -> bool:
        """Whether the layer (part 0) or its standard deviation (part 1) is sparse."""
        return self.stores_columns or (part == 0 and self.imputer.cut_off is not None)

    def _minibatches(self, counts: sparse.csr_matrix) -> list[slice]:
        n_cells, step = counts.shape[0], self.batch_size
        return [slice(first, min(first + step, n_cells)) for first in range(0, n_cells, step)]


def rows_per_block(n_genes: int, batch_size: int) -> int:
    """Cells of a block, in whole minibatches: so many that work on it outweighs its handling.

    Parameters
    ----------
    n_genes
        Number of genes.
    batch_size
        Cells per minibatch.

    Examples
    --------
    >>> from scdtl.pp._lazy import rows_per_block
    >>> rows_per_block(20_000, 64)
    192
    """
    return batch_size * max(1, _ENTRIES_PER_BLOCK // (n_genes * batch_size))


def in_place_of(
    array: np.ndarray | sparse.csr_matrix,
    columns: np.ndarray | None,
    n_features: int,
    stores_columns: bool,
) -> np.ndarray | sparse.csr_matrix:
    """The layer: the array itself, or a matrix in which it is in the columns of its genes.

    Parameters
    ----------
    array
        Cells × chosen genes.
    columns
        Positions of the chosen genes; ``None`` for all.
    n_features
        Number of all features.
    stores_columns
        Whether the layer is sparse, and stores these columns only.
    """
    if columns is None:
        return array
    if not (stores_columns or sparse.issparse(array)):
        layer = np.zeros((len(array), n_features), dtype=array.dtype)
        layer[:, columns] = array
        return layer
    if isinstance(array, sparse.csr_matrix):
        data, indices, indptr = array.data, columns[array.indices], array.indptr
    else:  # all entries are stored, so that a zero is told from a gene that is not there
        data, indices = array.ravel(), np.tile(columns, len(array))
        indptr = np.arange(len(array) + 1) * len(columns)
    layer = sparse.csr_matrix((data, indices, indptr), shape=(array.shape[0], n_features))
    layer.sort_indices()
    return layer


def lazy_layers(
    counts: dask.array.Array,
    imputer: BlockImputer,
    batch_index: np.ndarray,
    library_size: np.ndarray | None,
    return_std: bool,
) -> list[dask.array.Array]:
    """The layer, and with ``return_std`` its standard deviation.

    Parameters
    ----------
    counts
        Blocks of cells.
    imputer
        What imputes one of them.
    batch_index
        Batch of each cell.
    library_size
        Depth of the result per cell; ``None`` for the cell's own.
    return_std
        Whether to give the standard deviation too.
    """
    import dask
    import dask.array as da

    per_cell = [array for array in (batch_index, library_size) if array is not None]
    arrays = [da.from_array(x[:, None], chunks=(counts.chunks[0], 1)) for x in per_cell]
    # One key of the graph, whatever the number of blocks that refer to it.
    network = dask.delayed(imputer, pure=False, traverse=False)
    return [
        da.map_blocks(
            _imputed_block,
            counts,
            *arrays,
            imputer=network,
            part=part,
            dtype=np.float32,
            chunks=(counts.chunks[0], (imputer.n_features,)),
            meta=sparse.csr_matrix((0, 0), dtype=np.float32)
            if imputer.gives_sparse(part)
            else np.empty((0, 0), dtype=np.float32),
        )
        for part in range(1 + return_std)
    ]


def _imputed_block(
    counts: sparse.csr_matrix,
    batch_index: np.ndarray,
    library_size: np.ndarray | None = None,
    *,
    imputer: BlockImputer,
    part: int,
) -> np.ndarray | sparse.csr_matrix:
    size = None if library_size is None else library_size.ravel()
    return imputer(counts, batch_index.ravel(), size, return_std=part > 0)[part]


def _joined(parts: Sequence[np.ndarray | sparse.csr_matrix]) -> np.ndarray | sparse.csr_matrix:
    if sparse.issparse(parts[0]):
        return sparse.vstack(parts, format="csr")
    return np.concatenate(parts)
