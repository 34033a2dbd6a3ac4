"""Molecules, not cells, are held out: splitting, thinning and the loaders that do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning.pytorch as pl
import numpy as np
import torch
from scipy import sparse
from scvi import settings
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
)

from scdtl._constants import REGISTRY_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MAX_TRAINING_CELLS = 50_000
MAX_VALIDATION_CELLS = 512
MAX_CALIBRATION_CELLS = 2_000
_KEPT_FRACTION = (0.5, 0.9)


def thin(
    counts: sparse.csr_matrix, fraction: float | np.ndarray, generator: np.random.Generator
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Split molecules at random: every count n becomes Binomial(n, fraction) and the rest.

    Parameters
    ----------
    counts
        Counts, cells × genes, CSR.
    fraction
        Probability of a molecule to be kept, one number or one per cell.
    generator
        Source of randomness.

    Returns
    -------
    The kept molecules and the others, both with the structure arrays of ``counts`` itself: do
    not change them in place.
    """
    fraction = np.repeat(
        np.broadcast_to(fraction, counts.shape[0]).astype(np.float32), np.diff(counts.indptr)
    )
    # Most counts are 1 (or stored zeros): for them the draw is one comparison.
    one = generator.random(len(counts.data), dtype=np.float32) < fraction
    kept = np.minimum(counts.data, one, dtype=np.float32)
    several = np.flatnonzero(counts.data > 1)
    kept[several] = generator.binomial(counts.data[several].astype(np.int64), fraction[several])
    rest = counts.data - kept
    return (
        sparse.csr_matrix((kept, counts.indices, counts.indptr), shape=counts.shape),
        sparse.csr_matrix((rest, counts.indices, counts.indptr), shape=counts.shape),
    )


class _ThinnedCells(Dataset):
    """Minibatches of cells, thinned anew each time: part goes in, the rest is the target.

    Each has a number that its randomness comes from, so that it does not matter which process
    makes it.
    """

    def __init__(self, counts: sparse.csr_matrix, batch_index: np.ndarray, seed: Sequence[int]):
        self.counts = counts
        self.batch_index = batch_index
        self.seed = seed

    def __len__(self) -> int:
        return self.counts.shape[0]

    def __getitem__(self, minibatch: tuple[int, Sequence[int]]) -> dict[str, torch.Tensor]:
        number, rows = minibatch
        generator = np.random.default_rng([*self.seed, number])
        fraction = generator.uniform(*_KEPT_FRACTION, size=len(rows))
        kept, rest = thin(self.counts[rows], fraction, generator)
        return _tensors(kept, rest, self.batch_index[rows])


class _HeldOutMolecules(Dataset):
    """Minibatches of cells with their kept molecules as input and the held-out as target."""

    def __init__(
        self, kept: sparse.csr_matrix, held_out: sparse.csr_matrix, batch_index: np.ndarray
    ):
        self.kept, self.held_out, self.batch_index = kept, held_out, batch_index

    def __len__(self) -> int:
        return self.kept.shape[0]

    def __getitem__(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        return _tensors(self.kept[rows], self.held_out[rows], self.batch_index[rows])


def _tensors(
    counts: sparse.csr_matrix, target: sparse.csr_matrix, batch_index: np.ndarray
) -> dict[str, torch.Tensor]:
    return {
        REGISTRY_KEYS.X_KEY: torch.from_numpy(counts.toarray()),
        REGISTRY_KEYS.TARGET_KEY: torch.from_numpy(target.toarray()),
        REGISTRY_KEYS.BATCH_KEY: torch.from_numpy(batch_index),
    }


class _Numbered(Sampler):
    """Minibatches, numbered over all passes."""

    def __init__(self, minibatches: BatchSampler):
        self.minibatches = minibatches
        self.n_drawn = 0

    def __len__(self) -> int:
        return len(self.minibatches)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        for rows in self.minibatches:
            self.n_drawn += 1
            yield self.n_drawn, rows


class MoleculeSplitter(pl.LightningDataModule):
    """Holds out molecules once; trains on the others, validates on those of the first cells.

    Parameters
    ----------
    counts
        Counts of the cells to train on, in random order; cells × genes, CSR float32.
    batch_index
        Batch of each cell.
    batch_size
        Cells per minibatch.
    held_out_fraction
        Share of each cell's molecules set aside.
    seed
        Seed of the split and of the thinning.
    positions
        Position of each cell in its data, of which scvi-tools keeps a record; ``None`` if
        they are all the cells.
    """

    def __init__(
        self,
        counts: sparse.csr_matrix,
        batch_index: np.ndarray,
        batch_size: int = 64,
        held_out_fraction: float = 0.1,
        seed: int = 0,
        positions: np.ndarray | None = None,
    ):
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed
        self.batch_index = batch_index
        generator = np.random.default_rng(seed)
        self.kept, self.held_out = thin(counts, 1 - held_out_fraction, generator)
        self.train_idx = np.arange(counts.shape[0]) if positions is None else positions
        self.val_idx = self.train_idx[:MAX_VALIDATION_CELLS]
        self.n_train, self.n_val = len(self.train_idx), len(self.val_idx)

    def train_dataloader(self) -> DataLoader:
        """Thinned cells, shuffled."""
        # The 0 keeps the numbers of version 0.1.
        cells = _ThinnedCells(self.kept, self.batch_index, [self.seed + 1, 0])
        minibatches = BatchSampler(RandomSampler(cells), self.batch_size, drop_last=False)
        return self._loader(cells, _Numbered(minibatches))

    def val_dataloader(self) -> DataLoader:
        """The cells that early stopping looks at, with their held-out molecules."""
        return self._held_out_loader(MAX_VALIDATION_CELLS)

    def calibration_dataloader(self) -> DataLoader:
        """More such cells, for the dispersion and the scores after training."""
        return self._held_out_loader(MAX_CALIBRATION_CELLS)

    def held_out_parts(self) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        """Kept and held-out molecules of the validation cells."""
        return self.kept[:MAX_VALIDATION_CELLS], self.held_out[:MAX_VALIDATION_CELLS]

    def _held_out_loader(self, n_cells: int) -> DataLoader:
        parts = self.kept, self.held_out, self.batch_index
        cells = _HeldOutMolecules(*(part[:n_cells] for part in parts))
        minibatches = BatchSampler(SequentialSampler(cells), self.batch_size, drop_last=False)
        return self._loader(cells, minibatches)

    @staticmethod
    def _loader(cells: Dataset, minibatches: Iterable) -> DataLoader:
        n_workers = settings.dl_num_workers
        return DataLoader(
            cells,
            batch_size=None,  # the sampler yields whole ones: one slice of the sparse matrix each
            sampler=minibatches,
            num_workers=n_workers,
            persistent_workers=settings.dl_persistent_workers and n_workers > 0,
        )
