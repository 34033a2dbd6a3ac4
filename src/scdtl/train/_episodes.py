"""Episodes: bulk samples mixed, sharpened and thinned into pseudo-cells with known truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import torch
from sklearn.metrics.pairwise import euclidean_distances
from torch.utils.data import DataLoader, IterableDataset

from scdtl._constants import REGISTRY_KEYS
from scdtl.data._thin import entries_at_random, hide
from scdtl.module._dae import CP10K
from scdtl.noise._multinomial import LOG_ZERO

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_STUDIES = 4
_MAX_LOG_RATIO = 6.0
_AMPLIFICATION_SHAPE = (0.5, 4.0)
_MAX_DROPOUT = 0.5
_PANEL_SIZE = (200, 4_000)
_VALIDATION_FRACTION = 0.1
_N_VALIDATION_EPISODES = 8


class Episodes(IterableDataset):
    """An endless stream of made-up single-cell data sets, one minibatch each.

    An episode draws one to four studies of one unit, a few of their samples as cell types, and
    mixes these into cells (sparse Dirichlet). Ratios to the episode's mean profile are raised to
    a power, since a tissue is blunter than a cell type; a random gain per gene stands for the
    platform; counts are Poisson.

    Parameters
    ----------
    profiles
        Expression on a linear scale, samples × genes; NaN where a study lacks a gene.
    studies, units
        Integer codes per sample.
    n_cells
        Cells per episode.
    n_episodes
        Episodes per pass.
    seed
        Seed of the stream; ``None`` takes it from torch's global generator at each pass.
    power
        Range of the power: above 1 for tissues, about 1 for cell types.
    library_size
        Range of the cells' median library size; drawn on the log scale.
    alike
        Share of episodes that draw the samples most like one of their study, in place of any.
    reads
        Share of episodes with dropouts and amplification noise, as reads have them.
    hidden
        Up to which share of a cell's entries is hidden (NaN), to be predicted from the others.
    panels
        Share of episodes that hide all but a few hundred or thousand genes instead.
    """

    def __init__(
        self,
        profiles: np.ndarray,
        studies: np.ndarray,
        units: np.ndarray,
        n_cells: int,
        n_episodes: int,
        seed: int | None = None,
        *,
        power: tuple[float, float] = (1.0, 2.5),
        library_size: tuple[float, float] = (500, 20_000),
        alike: float = 0.0,
        reads: float = 0.0,
        hidden: float = 0.0,
        panels: float = 0.0,
    ):
        self.profiles = profiles
        self.n_cells = n_cells
        self.n_episodes = n_episodes
        self.seed = seed
        self.power, self.library_size = power, library_size
        self.alike, self.reads = alike, reads
        self.hidden, self.panels = hidden, panels
        # Samples of one study in different units are as those of different studies.
        pairs = np.column_stack([studies, units])
        studies = np.unique(pairs, axis=0, return_inverse=True)[1].ravel()
        self._samples = {s: np.flatnonzero(studies == s) for s in np.unique(studies)}
        self._unit = {s: units[rows[0]] for s, rows in self._samples.items()}
        sizes = np.array([len(rows) for rows in self._samples.values()], dtype=float)
        self._study_weights = np.sqrt(sizes) / np.sqrt(sizes).sum()
        self._order = (
            {s: _most_alike_first(profiles[rows]) for s, rows in self._samples.items()}
            if alike
            else {}
        )

    def __len__(self) -> int:
        return self.n_episodes

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        seed = int(torch.randint(2**31, (1,))) if self.seed is None else self.seed
        generator = np.random.default_rng(seed)
        for _ in range(self.n_episodes):
            yield self.draw(generator)

    def draw(self, generator: np.random.Generator) -> dict[str, torch.Tensor]:
        """Draw one episode: counts, noise-free proportions and the log of their mean."""
        types = self._draw_types(generator)
        weights = self._abundances(len(types), generator)
        cells = _product(weights, self._sharpen(types, weights.mean(0), generator))
        library_size = np.exp(generator.uniform(*np.log(self.library_size)))
        library_sizes = library_size * generator.lognormal(0, 0.4, size=(self.n_cells, 1))
        counts = _poisson(cells * library_sizes.astype(np.float32), generator)
        if self.reads and generator.random() < self.reads:
            _amplify(counts, generator)
        if self.panels and generator.random() < self.panels:
            counts[:, ~_panel(counts, generator)] = np.nan
        elif self.hidden:
            share = generator.uniform(0, self.hidden, size=(self.n_cells, 1))
            hide(counts, entries_at_random(counts.shape, share, generator))
        mean = cells.mean(0)
        log_mean = np.where(mean > 0, np.log(np.maximum(mean, 1e-30)), LOG_ZERO)
        return {
            REGISTRY_KEYS.X_KEY: torch.from_numpy(counts),
            REGISTRY_KEYS.TARGET_KEY: torch.from_numpy(cells),
            REGISTRY_KEYS.LOG_MEAN_KEY: torch.from_numpy(log_mean.astype(np.float32)),
        }

    def _draw_types(self, generator: np.random.Generator) -> np.ndarray:
        studies = list(self._samples)
        first = studies[generator.choice(len(studies), p=self._study_weights)]
        others = [s for s in studies if s != first and self._unit[s] == self._unit[first]]
        n_more = min(len(others), int(generator.choice(_MAX_STUDIES, p=[0.55, 0.15, 0.15, 0.15])))
        chosen = [first, *generator.choice(others, n_more, replace=False)] if n_more else [first]
        n_types = int(generator.integers(4, 33))
        alike = bool(self.alike) and generator.random() < self.alike
        n_each = -(-n_types // len(chosen))
        rows = [self._draw_samples(study, n_each, alike, generator) for study in chosen]
        types = self.profiles[np.concatenate(rows)]
        while True:
            measured = ~np.isnan(types).any(0)
            total = np.where(measured, types, 0).sum(1, keepdims=True)
            if total.all():
                return np.where(measured, types, 0) / total
            types = types[:-1]  # some express no gene that all of them measured

    def _draw_samples(
        self, study: int, n: int, alike: bool, generator: np.random.Generator
    ) -> np.ndarray:
        """Draw up to n samples of a study: one and those most like it, or any."""
        rows = self._samples[study]
        if alike:
            return rows[self._order[study][generator.integers(len(rows)), :n]]
        return generator.choice(rows, min(len(rows), n), replace=False)

    def _abundances(self, n_types: int, generator: np.random.Generator) -> np.ndarray:
        """Cells × types: mostly one type per cell, types of unequal abundance."""
        abundance = generator.dirichlet(np.full(n_types, 1.0))
        concentration = np.exp(generator.uniform(np.log(0.3), np.log(5)))
        weights = generator.dirichlet(
            np.maximum(abundance * concentration, 1e-3), size=self.n_cells
        )
        return weights.astype(np.float32)

    def _sharpen(
        self, types: np.ndarray, abundance: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        """Raise the types' ratios to their mean to a power; apply one gain per gene to all."""
        mean = _product(abundance[None], types)[0]
        log_ratio = np.log((types + 1e-9) / (mean + 1e-9)) * generator.uniform(*self.power)
        gain = generator.lognormal(0, generator.uniform(0, 1), size=types.shape[1])
        ratio = np.exp(log_ratio.clip(-_MAX_LOG_RATIO, _MAX_LOG_RATIO))
        sharpened = ratio * mean * gain
        return (sharpened / sharpened.sum(1, keepdims=True)).astype(np.float32)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Matrix product by torch: threads of NumPy's BLAS and torch's would wait for each other."""
    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()


def _poisson(rates: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Poisson counts. Most are zero, and cost no more than the waiting time for a molecule."""
    late = generator.standard_exponential(rates.size, dtype=np.float32) - rates.ravel()
    counts = np.zeros(rates.size, dtype=np.float32)
    positive = np.flatnonzero(late < 0)
    counts[positive] = 1 + generator.poisson(-late[positive])
    return counts.reshape(rates.shape)


def _most_alike_first(profiles: np.ndarray) -> np.ndarray:
    """For each sample the order of all of them by distance of log profiles, itself first."""
    known = np.where(np.isnan(profiles).any(0), 0, profiles)
    total = known.sum(1, keepdims=True)
    profiles = np.log1p(CP10K * np.divide(known, total, out=np.zeros_like(known), where=total > 0))
    return np.argsort(euclidean_distances(profiles), axis=1, kind="stable")


def _amplify(counts: np.ndarray, generator: np.random.Generator) -> None:
    """Molecules to reads, in place: whole entries drop out, others have more copies or fewer."""
    positive = np.flatnonzero(counts)
    shape = np.exp(generator.uniform(*np.log(_AMPLIFICATION_SHAPE)))
    copies = generator.gamma(shape, 1 / shape, len(positive))
    kept = generator.random(len(positive)) >= generator.uniform(0, _MAX_DROPOUT)
    counts.ravel()[positive] *= copies * kept


def _panel(counts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Genes of a panel: some of those with counts, rather the abundant ones."""
    chance = np.sqrt(counts.sum(0, dtype=np.float64))
    n_genes = int(np.exp(generator.uniform(*np.log(_PANEL_SIZE))))
    n_genes = min(n_genes, int(np.count_nonzero(chance)))
    in_panel = np.zeros(len(chance), dtype=bool)
    in_panel[generator.choice(len(chance), n_genes, replace=False, p=chance / chance.sum())] = True
    return in_panel


class EpisodeSplitter(pl.LightningDataModule):
    """Training episodes from most samples, fixed validation episodes from the others."""

    def __init__(
        self,
        profiles: np.ndarray,
        studies: np.ndarray,
        units: np.ndarray,
        batch_size: int,
        n_episodes: int,
        num_workers: int = 0,
        **episode_kwargs: Any,
    ):
        super().__init__()
        self.episode_kwargs = episode_kwargs
        self.profiles, self.studies, self.units = profiles, studies, units
        self.batch_size, self.n_episodes, self.num_workers = batch_size, n_episodes, num_workers
        generator = np.random.default_rng(int(torch.randint(2**31, (1,))))
        held_out = generator.random(len(studies)) < _VALIDATION_FRACTION
        for study in np.unique(studies):  # a study keeps most of its samples for training
            rows = np.flatnonzero(studies == study)
            if len(rows) < 1 / _VALIDATION_FRACTION:
                held_out[rows] = False
        self.train_idx = np.flatnonzero(~held_out)
        self.val_idx = np.flatnonzero(held_out)
        self.n_train, self.n_val = len(self.train_idx), len(self.val_idx)

    def _loader(self, rows: np.ndarray, n_episodes: int, seed: int | None) -> DataLoader:
        episodes = Episodes(
            self.profiles[rows],
            self.studies[rows],
            self.units[rows],
            self.batch_size,
            n_episodes,
            seed,
            **self.episode_kwargs,
        )
        return DataLoader(
            episodes,
            batch_size=None,
            num_workers=self.num_workers if seed is None else 0,
            persistent_workers=False,
        )

    def train_dataloader(self) -> DataLoader:
        return self._loader(self.train_idx, self.n_episodes, None)

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.val_idx, _N_VALIDATION_EPISODES, 0)
