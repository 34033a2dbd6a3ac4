"""Sums over cells, exact where single precision is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CELLS_PER_BLOCK = 10_000


def gene_totals(counts: NDArray | sparse.spmatrix | sparse.sparray) -> NDArray[np.float64]:
    """Sum of each gene over all cells, in double precision.

    SciPy sums float32 in float32 whatever ``dtype`` says, where nothing smaller than 2 can be
    added to 2²⁵ molecules, and the order of the cells shows.

    Parameters
    ----------
    counts
        Cells × genes.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from scdtl.data._totals import gene_totals
    >>> gene_totals(sparse.csr_matrix(np.float32([[2**25, 0], [1, 4]])))
    array([33554433.,        4.])
    """
    if not sparse.issparse(counts):
        return np.asarray(counts.sum(axis=0, dtype=np.float64)).ravel()
    by_cell = sparse.csr_array(counts)
    total = np.zeros(by_cell.shape[1])
    for first in range(0, by_cell.shape[0], _CELLS_PER_BLOCK):
        block = by_cell[first : first + _CELLS_PER_BLOCK]
        total += np.ones(block.shape[0]) @ block
    return total
