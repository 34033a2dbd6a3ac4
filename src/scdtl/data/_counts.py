"""Counts of cells: where they are, in blocks that need not fit into memory, a sample, sums."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scdtl.data._noise_of import MAX_CELLS, Recognised, cells_to_tell_by, evidence_of, recognised
from scdtl.data._raw_counts import canonical_csr, check_counts, count_matrix, other_matrices

if TYPE_CHECKING:
    from collections.abc import Callable

    import dask.array
    from anndata import AnnData
    from numpy.typing import NDArray

    from scdtl.data._noise_of import Noise

_CELLS_PER_BLOCK = 10_000
_CELLS_TO_SORT_OUT = 20_000
_NO_COUNTS = sparse.csr_matrix((0, 0), dtype=np.float32)


@dataclass(frozen=True)
class CountMatrix:
    """The counts of an AnnData, wherever they are."""

    matrix: Any  # cells × features: in memory, in a file, or a dask array
    name: str  # what messages call it
    genes: np.ndarray  # for each feature whether it is a gene
    elsewhere: Callable[[], str]  # says where else counts may be
    noise: Noise

    @property
    def in_memory(self) -> bool:
        """Whether they are a NumPy array or a SciPy matrix."""
        return isinstance(self.matrix, np.ndarray) or sparse.issparse(self.matrix)

    def loaded(self) -> CountMatrix:
        """The same in memory."""
        if self.in_memory:
            return self
        matrix = self.matrix
        in_memory = matrix.compute() if hasattr(matrix, "compute") else matrix[:]
        return replace(self, matrix=in_memory)

    def checked(self) -> sparse.csr_matrix:
        """Counts of the genes, which are in memory."""
        try:
            return _checked(self.matrix, self.name, "", self._columns, self.noise)
        except ValueError as error:
            raise ValueError(f"{error} {self.elsewhere()}") from None

    def resolved(self) -> tuple[CountMatrix, Recognised]:
        """The same for one noise model, which some of the cells tell; on disk, the first ones."""
        if self.noise != "auto":
            return self, Recognised(self.noise, "as asked for", {})
        some = cells_to_tell_by(self.matrix.shape[0]) if self.in_memory else slice(MAX_CELLS)
        sample = replace(self, matrix=self.matrix[some]).loaded()
        found = recognised(evidence_of(sample.checked()))
        return replace(self, noise=found.noise), found

    @property
    def _columns(self) -> np.ndarray | None:
        """Positions of the genes; ``None`` where all features are."""
        return None if self.genes.all() else np.flatnonzero(self.genes)

    def read(self, n_rows: int) -> sparse.csr_matrix | dask.array.Array:
        """Checked counts of the genes; those on disk in blocks that are checked when computed."""
        if self.in_memory:
            return self.checked()
        matrix = self.matrix
        n_cells, n_features = matrix.shape
        if not type(matrix).__module__.startswith("dask."):
            from anndata.experimental import read_elem_lazy

            if getattr(matrix, "format", "csr") == "csc":
                _refuse_columns(self.name)
            in_file = getattr(matrix, "group", matrix)
            matrix = read_elem_lazy(in_file, chunks=(min(n_rows, n_cells), n_features))
        elif matrix.numblocks[1] > 1 and matrix.numblocks[0] == 1 and n_cells > n_rows:
            _refuse_columns(self.name)
        blocks = matrix.rechunk((n_rows, n_features))
        return blocks.map_blocks(
            _checked,
            called=self.name,
            hint=self.elsewhere(),
            genes=self._columns,
            noise=self.noise,
            chunks=(blocks.chunks[0], (int(self.genes.sum()),)),
            dtype=np.float32,
            meta=_NO_COUNTS,
        )


def find_counts(
    adata: AnnData, layer: str | None, genes: np.ndarray, noise: Noise = "umi"
) -> CountMatrix:
    """Where the counts are."""
    elsewhere = partial(other_matrices, adata, layer)
    return CountMatrix(*count_matrix(adata, layer), genes, elsewhere, noise)


def in_blocks(counts: sparse.csr_matrix, n_rows: int) -> dask.array.Array:
    """Counts in memory as a dask array of CSR blocks."""
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


def read_sample(
    blocks: dask.array.Array,
    batch_index: np.ndarray,
    n_batch: int,
    choose: Callable[[sparse.csr_matrix, np.ndarray], np.ndarray],
    totals_of: Callable[[sparse.csr_matrix, np.ndarray, int], NDArray[np.float64]],
) -> tuple[np.ndarray, sparse.csr_matrix, NDArray[np.float64]]:
    """Read all blocks once: positions and counts of chosen cells, and sums of all cells.

    `choose` gives sorted positions of cells to keep, and `totals_of` sums over cells. What the
    former would choose of all cells, it chooses of any part that they are in.
    """
    import dask

    delayed = blocks.to_delayed().ravel()
    first_rows = np.cumsum([0, *blocks.chunks[0]])
    at_once = max(1, _CELLS_PER_BLOCK // blocks.chunks[0][0])
    rows, pieces, n_kept = np.empty(0, dtype=np.int64), [], 0
    totals: Any = 0
    for first in range(0, len(delayed), at_once):
        part = delayed[first : first + at_once]
        pieces += (read := dask.compute(*part))
        new = np.arange(first_rows[first], first_rows[first + len(part)])
        totals += totals_of(sparse.vstack(read, format="csr"), batch_index[new], n_batch)
        rows = np.concatenate([rows, new])
        at_end = first + at_once >= len(delayed)
        if at_end or len(rows) > max(_CELLS_TO_SORT_OUT, 1.5 * n_kept):
            counts = sparse.vstack(pieces, format="csr")
            kept = choose(counts, batch_index[rows])
            rows, pieces, n_kept = rows[kept], [counts[kept]], len(kept)
    return rows, pieces[0], totals


def batch_totals(
    counts: sparse.csr_matrix, batch_index: np.ndarray, n_batch: int
) -> NDArray[np.float64]:
    """Sum of each gene over the cells of each batch, batches × genes."""
    if n_batch == 1:
        return gene_totals(counts)[None]
    return np.stack([gene_totals(counts[batch_index == batch]) for batch in range(n_batch)])


def gene_totals(counts: NDArray | sparse.spmatrix | sparse.sparray) -> NDArray[np.float64]:
    """Sum of each gene over all cells, in double precision.

    SciPy sums float32 in float32 whatever ``dtype`` says, where nothing smaller than 2 can be
    added to 2²⁵ molecules, and the order of the cells shows.
    """
    if not sparse.issparse(counts):
        return np.asarray(counts.sum(axis=0, dtype=np.float64)).ravel()
    by_cell = sparse.csr_array(counts)
    total = np.zeros(by_cell.shape[1])
    for first in range(0, by_cell.shape[0], _CELLS_PER_BLOCK):
        block = by_cell[first : first + _CELLS_PER_BLOCK]
        total += np.ones(block.shape[0]) @ block
    return total


def _checked(
    block: Any, called: str, hint: str, genes: np.ndarray | None, noise: Noise
) -> sparse.csr_matrix:
    check_counts(block, name=called, hint=hint, noise=noise)
    counts = canonical_csr(block)
    return counts if genes is None else counts[:, genes]


def _refuse_columns(name: str) -> None:
    raise ValueError(
        f"{name} is stored by genes (CSC), so reading a few cells means reading everything: "
        "store it by cells once, with adata.X = adata.X.tocsr() if it fits into memory."
    )
