"""Parts of cells, not cells, are held out: the split, and the loaders of both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning.pytorch as pl
import numpy as np
import torch
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
from scdtl.data._thin import entries_at_random, hide

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scipy import sparse

    from scdtl.noise import NoiseModel

MAX_TRAINING_CELLS = 50_000
MAX_VALIDATION_CELLS = 512
MAX_CALIBRATION_CELLS = 2_000
_CELLS_PER_BLOCK = 128


class _Pairs(Dataset):
    """Minibatches of cells, split anew each time: part is shown, the rest is asked.

    Each has a number that its randomness comes from, so that it does not matter which process
    makes it.
    """

    def __init__(
        self,
        noise: type[NoiseModel],
        counts: sparse.csr_matrix,
        batch_index: np.ndarray,
        seed: Sequence[int],
    ):
        self.noise = noise
        self.counts = counts
        self.batch_index = batch_index
        self.seed = seed

    def __len__(self) -> int:
        return self.counts.shape[0]

    def __getitem__(self, minibatch: tuple[int, Sequence[int]]) -> dict[str, torch.Tensor]:
        number, rows = minibatch
        generator = np.random.default_rng([*self.seed, number])
        shown, asked = self.noise.pair(self.counts[rows], generator)
        return _tensors(shown, asked, self.batch_index[rows])


class _HeldOut(Dataset):
    """Minibatches of cells with what is kept as input and what is held out as target.

    A share of the entries of the input is hidden, the same ones each time.
    """

    def __init__(
        self,
        noise: type[NoiseModel],
        kept: sparse.csr_matrix,
        held_out: sparse.csr_matrix,
        batch_index: np.ndarray,
        hidden: float = 0.0,
    ):
        self.noise = noise
        self.kept, self.held_out, self.batch_index = kept, held_out, batch_index
        self.hidden = hidden

    def __len__(self) -> int:
        return self.kept.shape[0]

    def __getitem__(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        shown, asked = self.noise.held_out_pair(self.kept[rows], self.held_out[rows])
        if self.hidden:
            generator = np.random.default_rng(rows[0])
            hide(shown, entries_at_random(shown.shape, self.hidden, generator))
        return _tensors(shown, asked, self.batch_index[rows])


def _tensors(
    shown: np.ndarray, asked: np.ndarray, batch_index: np.ndarray
) -> dict[str, torch.Tensor]:
    return {
        REGISTRY_KEYS.X_KEY: torch.from_numpy(shown),
        REGISTRY_KEYS.TARGET_KEY: torch.from_numpy(asked),
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


class HeldOutSplitter(pl.LightningDataModule):
    """Holds out a part of each cell once; trains on the rest, validates on the first cells.

    Parameters
    ----------
    noise
        The noise model, which says what is held out and how training pairs are made.
    counts
        Counts of the cells to train on, in random order; cells × genes, CSR float32.
    batch_index
        Batch of each cell.
    batch_size
        Cells per minibatch.
    held_out_fraction
        Share of each cell's molecules, or of its entries, set aside.
    seed
        Seed of the split and of the thinning.
    positions
        Position of each cell in its data, of which scvi-tools keeps a record; ``None`` if
        they are all the cells.
    """

    def __init__(
        self,
        noise: type[NoiseModel],
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
        self.noise = noise
        self.kept, self.held_out = noise.hold_out(
            noise.prepared(counts), held_out_fraction, MAX_CALIBRATION_CELLS, generator
        )
        self.train_idx = np.arange(counts.shape[0]) if positions is None else positions
        self.val_idx = self.train_idx[:MAX_VALIDATION_CELLS]
        self.n_train, self.n_val = len(self.train_idx), len(self.val_idx)

    def train_dataloader(self) -> DataLoader:
        """Pairs of all cells, shuffled."""
        # The 0 keeps the numbers of version 0.1.
        cells = _Pairs(self.noise, self.kept, self.batch_index, [self.seed + 1, 0])
        minibatches = BatchSampler(RandomSampler(cells), self.batch_size, drop_last=False)
        return self._loader(cells, _Numbered(minibatches))

    def val_dataloader(self) -> DataLoader:
        """The cells that early stopping looks at, with what is held out of them."""
        return self._held_out_loader(MAX_VALIDATION_CELLS, self.noise.hidden_in_validation)

    def calibration_dataloader(self) -> DataLoader:
        """More of them, whole, for what is fitted and scored outside of training."""
        return self._held_out_loader(MAX_CALIBRATION_CELLS)

    def held_out_parts(self) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        """Kept and held-out part of the validation cells."""
        return self.kept[:MAX_VALIDATION_CELLS], self.held_out[:MAX_VALIDATION_CELLS]

    def _held_out_loader(self, n_cells: int, hidden: float = 0.0) -> DataLoader:
        kept, held_out, batch_index = (
            part[:n_cells] for part in (self.kept, self.held_out, self.batch_index)
        )
        cells = _HeldOut(self.noise, kept, held_out, batch_index, hidden)
        blocks = BatchSampler(SequentialSampler(cells), _CELLS_PER_BLOCK, drop_last=False)
        return self._loader(cells, blocks)

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
