"""A random order of cells, and a sample, by what the cells are and not by where they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from scipy import sparse

_CELLS_PER_BLOCK = 10_000
_CELLS_PER_BATCH = 100


def shuffled_cells(
    counts: sparse.csr_matrix, batch_index: np.ndarray, keys: np.ndarray, seed: int
) -> np.ndarray:
    """Positions of the cells in a random order that follows the cells.

    Cells are sorted by a hash of the seed, their batch and their counts. So the same cells come
    in the same order however cells and genes are sorted, and genes without counts change nothing.
    Alike cells of a batch come in the order of their positions. Cells without counts are left
    out, unless there are no others.
    """
    of_cells = np.empty(counts.shape[0], dtype=np.uint64)
    for first in range(0, len(of_cells), _CELLS_PER_BLOCK):
        block = counts[first : first + _CELLS_PER_BLOCK]
        # Unsigned integers are multiplied and summed modulo 2⁶⁴: the order of the sum is the same.
        of_cells[first : first + _CELLS_PER_BLOCK] = block.astype(np.uint64) @ keys
    empty = of_cells == 0
    of_cells ^= _mixed(batch_index.astype(np.uint64) + _mixed(np.array([seed], dtype=np.uint64)))
    order = np.argsort(_mixed(of_cells), kind="stable")
    filled = order[~empty[order]]
    return filled if len(filled) else order


def sampled_cells(
    counts: sparse.csr_matrix,
    batch_index: np.ndarray,
    keys: np.ndarray,
    seed: int,
    n_cells: int,
    n_batch: int,
) -> np.ndarray:
    """The first of the shuffled cells, of each batch at least some, in that order.

    The cells among them that are in a part of the data are also sampled of that part.
    """
    shuffled = shuffled_cells(counts, batch_index, keys, seed)
    batch = pd.Series(batch_index[shuffled])
    rank = batch.groupby(batch).cumcount().to_numpy()
    needed = rank < min(_CELLS_PER_BATCH, n_cells // n_batch)
    return shuffled[needed | (np.cumsum(~needed) <= n_cells - needed.sum())]


def _mixed(values: np.ndarray) -> np.ndarray:
    """Each number as another that looks random (the finalizer of SplitMix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
