"""Matrices, dense or sparse: checked, and summed block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    FloatArray: TypeAlias = NDArray[np.floating]
    Matrix: TypeAlias = NDArray[np.number] | sparse.spmatrix | sparse.sparray
    Axis: TypeAlias = Literal[0, 1] | None

_BLOCK_ENTRIES = 4_000_000
"""Entries of one dense block of rows: 32 MB in double precision."""


def check_shapes(first: Matrix, second: Matrix, names: str = "truth and prediction") -> None:
    for matrix in (first, second):
        is_matrix = isinstance(matrix, np.ndarray) or sparse.issparse(matrix)
        if not is_matrix or matrix.dtype.kind not in "buif":
            raise TypeError(
                f"{names} must be arrays or SciPy sparse matrices of numbers; got an object of "
                f"type {type(matrix).__name__}{f' of {matrix.dtype}' if is_matrix else ''}."
            )
    if len(first.shape) != 2 or first.shape != second.shape:
        raise ValueError(
            f"{names} must be matrices of one shape, cells × genes; "
            f"got {first.shape} and {second.shape}."
        )
    if 0 in first.shape:
        raise ValueError(f"{names} have no entries: shape {first.shape}.")


def check_axis(axis: object) -> None:
    if axis is not None and (isinstance(axis, bool) or axis not in (0, 1)):
        raise ValueError(f"axis must be None, 0 (per gene) or 1 (per cell), not {axis!r}.")


def check_rates(counts: Matrix, rates: Matrix, name: str = "rates") -> None:
    """Refuse rates that do not fit these counts."""
    check_shapes(counts, rates, f"counts and {name}")
    for matrix, label in ((counts, "counts"), (rates, name)):
        values = sparse.coo_array(matrix).data if sparse.issparse(matrix) else np.asarray(matrix)
        smallest, largest = values.min(initial=0), values.max(initial=0)
        if not smallest >= 0:
            raise ValueError(f"{label} must not be negative or NaN; the smallest is {smallest}.")
        if largest == np.inf:
            raise ValueError(f"{label} must be finite.")


def mean_of(
    function: Callable[..., FloatArray], axis: Axis, *matrices: Matrix
) -> float | FloatArray:
    """Mean of a function of matching entries along an axis, block by block."""
    sums = [function(*blocks).sum(axis=axis) for blocks in _blocks(*matrices)]
    total = np.concatenate(sums) if axis == 1 else np.sum(sums, axis=0)
    return mean_from(total, matrices[0].shape, axis)


def mean_from(
    total: FloatArray | np.floating, shape: tuple[int, ...], axis: Axis
) -> float | FloatArray:
    """Mean along an axis, given the sum."""
    if axis is None:
        return float(total) / (shape[0] * shape[1])
    return cast("FloatArray", total) / shape[axis]


def _blocks(*matrices: Matrix) -> Iterator[list[FloatArray]]:
    """Yield the same rows of each matrix, dense and in double precision."""
    n_cells, n_genes = matrices[0].shape
    step = max(1, _BLOCK_ENTRIES // max(1, n_genes))
    row_wise = [sparse.csr_array(m) if sparse.issparse(m) else np.asarray(m) for m in matrices]
    for start in range(0, n_cells, step):
        yield [dense(matrix[start : start + step]) for matrix in row_wise]


def dense(block: Matrix) -> FloatArray:
    return np.asarray(
        sparse.csr_array(block).toarray() if sparse.issparse(block) else block, float
    )
