"""Which cells a model looks at: the same in memory and on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scdtl._random import next_seed
from scdtl.data._order import gene_keys, sampled_cells, shuffled_cells
from scdtl.model._transfer import keys_in_bulk, matches_of
from scdtl.module._gene_order import MAX_CELLS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scipy import sparse

    from scdtl.pretrained import BulkWeights


def cells_for_order(
    counts: sparse.csr_matrix, batch_index: np.ndarray, keys: np.ndarray
) -> np.ndarray:
    """Cells that tell how genes go together."""
    return shuffled_cells(counts, batch_index, keys, 0)[:MAX_CELLS]


def sampler(
    genes: Sequence[str], weights: BulkWeights | None, n_batch: int, n_training_cells: int
) -> Callable[[sparse.csr_matrix, np.ndarray], np.ndarray]:
    """What picks all cells that the next model will look at, given counts and batches."""
    keys = gene_keys(genes)
    if weights is not None:
        keys = keys_in_bulk(weights, genes, matches_of(weights, genes))
    with torch.random.fork_rng(devices=[]):  # the model will draw the same
        seed = next_seed()

    def pick(counts: sparse.csr_matrix, batch_index: np.ndarray) -> np.ndarray:
        trained = sampled_cells(counts, batch_index, keys, seed, n_training_cells, n_batch)
        return np.union1d(trained, cells_for_order(counts, batch_index, keys))

    return pick
