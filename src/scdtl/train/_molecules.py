"""Molecules, not cells, are held out: splitting, thinning and the loaders that do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning.pytorch as pl
import numpy as np
import torch
from scipy import sparse
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from scdtl._constants import REGISTRY_KEYS

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """Minibatches of cells, thinned anew each time: part goes in, the rest is the target."""

    def __init__(self, counts: sparse.csr_matrix, batch_index: np.ndarray, seed: int):
        self.counts = counts
        self.batch_index = batch_index
        self.generator = np.random.default_rng(seed)

    def __len__(self) -> int:
        return self.counts.shape[0]

    def __getitem__(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        fraction = self.generator.uniform(*_KEPT_FRACTION, size=len(rows))
        kept, rest = thin(self.counts[rows], fraction, self.generator)
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


class MoleculeSplitter(pl.LightningDataModule):
    """Holds out molecules once; trains on the others, validates on a fixed sample of cells.

    Parameters
    ----------
    counts
        Counts, cells × genes, CSR float32.
    batch_index
        Batch of each cell.
    batch_size
        Cells per minibatch.
    held_out_fraction
        Share of each cell's molecules set aside.
    seed
        Seed of the split, of the cells drawn and of the thinning.
    """

    def __init__(
        self,
        counts: sparse.csr_matrix,
        batch_index: np.ndarray,
        batch_size: int = 64,
        held_out_fraction: float = 0.1,
        seed: int = 0,
    ):
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed
        generator = np.random.default_rng(seed)
        n_cells = counts.shape[0]
        self.train_idx = np.arange(n_cells)
        if n_cells > MAX_TRAINING_CELLS:
            self.train_idx = np.sort(generator.permutation(n_cells)[:MAX_TRAINING_CELLS])
            counts = counts[self.train_idx]
        self.batch_index = batch_index[self.train_idx]
        self.kept, self.held_out = thin(counts, 1 - held_out_fraction, generator)
        drawn = generator.permutation(len(self.train_idx))
        self._calibration, self._validation = (
            np.sort(drawn[:n]) for n in (MAX_CALIBRATION_CELLS, MAX_VALIDATION_CELLS)
        )
        self.val_idx = self.train_idx[self._validation]
        self.n_train, self.n_val = len(self.train_idx), len(self.val_idx)

    def train_dataloader(self) -> DataLoader:
        """Thinned cells, shuffled."""
        cells = _ThinnedCells(self.kept, self.batch_index, self.seed + 1)
        return self._loader(cells, RandomSampler(cells))

    def val_dataloader(self) -> DataLoader:
        """The cells that early stopping looks at, with their held-out molecules."""
        return self._held_out_loader(self._validation)

    def calibration_dataloader(self) -> DataLoader:
        """More such cells, for the dispersion and the scores after training."""
        return self._held_out_loader(self._calibration)

    def held_out_parts(self) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        """Kept and held-out molecules of the validation cells."""
        return self.kept[self._validation], self.held_out[self._validation]

    def _held_out_loader(self, rows: np.ndarray) -> DataLoader:
        cells = _HeldOutMolecules(self.kept[rows], self.held_out[rows], self.batch_index[rows])
        return self._loader(cells, SequentialSampler(cells))

    def _loader(self, cells: Dataset, sampler) -> DataLoader:
        # The sampler yields whole minibatches: one slice of the sparse matrix each.
        return DataLoader(
            cells, batch_size=None, sampler=BatchSampler(sampler, self.batch_size, drop_last=False)
        )
