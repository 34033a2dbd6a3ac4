"""Counts that need not fit into memory: blocks of cells, read when they are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scdtl.data._features import is_gene
from scdtl.data._raw_counts import canonical_csr, check_counts, count_matrix, other_matrices

if TYPE_CHECKING:
    import dask.array
    from anndata import AnnData

_CELLS_PER_BATCH = 100


def is_in_memory(adata: AnnData, layer: str | None) -> bool:
    """Whether the counts are a NumPy array or a SciPy matrix.

    Parameters
    ----------
    adata, layer
        As in :func:`scdtl.pp.impute`.
    """
    matrix, _ = count_matrix(adata, layer)
    return isinstance(matrix, np.ndarray) or sparse.issparse(matrix)


def in_blocks(counts: sparse.csr_matrix, n_rows: int) -> dask.array.Array:
    """Counts in memory as a dask array of CSR blocks.

    Parameters
    ----------
    counts
        Checked counts.
    n_rows
        Cells per block.
    """
    import dask
    import dask.array as da

    # Each block is an object of its own, so that a worker elsewhere gets what it needs only.
    blocks = [
        da.from_delayed(
            dask.delayed(counts[first : first + n_rows], pure=False, traverse=False),
            shape=(min(n_rows, counts.shape[0] - first), counts.shape[1]),
            meta=_NO_COUNTS,
        )
        for first in range(0, counts.shape[0], n_rows)
    ]
    return da.concatenate(blocks)


def read_in_blocks(adata: AnnData, layer: str | None, n_rows: int) -> dask.array.Array:
    """Counts of the genes of a backed file or a dask array, in CSR blocks, checked when read.

    Parameters
    ----------
    adata, layer
        As in :func:`scdtl.pp.impute`.
    n_rows
        Cells per block.

    Raises
    ------
    ValueError
        If the counts are stored by genes.
    """
    matrix, name = count_matrix(adata, layer)
    n_cells, n_genes = matrix.shape
    if not _is_dask(matrix):
        from anndata.experimental import read_elem_lazy

        if getattr(matrix, "format", "csr") == "csc":
            _refuse_columns(name)
        matrix = read_elem_lazy(adata.file["X"], chunks=(min(n_rows, n_cells), n_genes))
    elif matrix.numblocks[1] > 1 and matrix.numblocks[0] == 1 and n_cells > n_rows:
        _refuse_columns(name)
    genes = is_gene(adata)
    blocks = matrix.rechunk((n_rows, n_genes))
    return blocks.map_blocks(
        _checked,
        called=name,
        hint=other_matrices(adata, layer),
        genes=None if genes.all() else np.flatnonzero(genes),
        chunks=(blocks.chunks[0], (int(genes.sum()),)),
        dtype=np.float32,
        meta=_NO_COUNTS,
    )


def training_rows(batch_index: np.ndarray, n_cells: int, seed: int) -> np.ndarray:
    """Cells to train on, drawn at random; of each batch at least some.

    Parameters
    ----------
    batch_index
        Batch of each cell.
    n_cells
        How many; fewer cells are all taken.
    seed
        Seed.

    Returns
    -------
    Sorted positions.

    Examples
    --------
    >>> import numpy as np
    >>> from scdtl.data._counts import training_rows
    >>> training_rows(np.zeros(5, dtype=int), 9, 0)
    array([0, 1, 2, 3, 4])
    """
    drawn = np.random.default_rng(seed).permutation(len(batch_index))
    if len(drawn) > n_cells:
        # The first of each batch come before all others: a batch without training cells would
        # have no mean profile.
        some = min(_CELLS_PER_BATCH, n_cells // (batch_index.max() + 1))
        first = np.concatenate(
            [drawn[batch_index[drawn] == batch][:some] for batch in np.unique(batch_index)]
        )
        others = drawn[~np.isin(drawn, first)]
        drawn = np.concatenate([first, others])[:n_cells]
    return np.sort(drawn)


_NO_COUNTS = sparse.csr_matrix((0, 0), dtype=np.float32)


def _is_dask(matrix: Any) -> bool:
    return type(matrix).__module__.startswith("dask.")


def _checked(block: Any, called: str, hint: str, genes: np.ndarray | None) -> sparse.csr_matrix:
    check_counts(block, name=called, hint=hint)
    counts = canonical_csr(block)
    return counts if genes is None else counts[:, genes]


def _refuse_columns(name: str) -> None:
    raise ValueError(
        f"{name} is stored by genes (CSC), where to read some cells is to read all: write it by "
        "cells once, with adata.X = adata.X.tocsr() where memory allows."
    )
