"""What a noise model decides: training pairs, the loss, what is held out, and the posterior.

The network predicts *log-ratios* of each gene to the mean profile; *scores* are log-ratios plus
the log of the mean profile. All that is made of scores and counts is the noise model's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from scipy import sparse

    Halves = tuple[sparse.csr_matrix, sparse.csr_matrix]
    Minibatch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
    """Scores, log of the mean profile, what was shown, and what was held out."""
    Pair = tuple[NDArray[np.float32], NDArray[np.float32]]


def lowest(steps: Sequence[float], losses: Sequence[float]) -> float:
    """Where a loss is lowest: a parabola through the best of even steps and its neighbours."""
    best = int(np.argmin(losses))
    middle = min(max(best, 1), len(steps) - 2)
    left, centre, right = losses[middle - 1 : middle + 2]
    curvature = left - 2 * centre + right
    if not curvature > 0:  # flat, or not a number
        return steps[best]
    shift = 0.5 * (left - right) / curvature
    return steps[middle] + float(np.clip(shift, -1, 1)) * (steps[middle] - steps[middle - 1])


class Posterior(ABC):
    """What is known of the rates of a block of cells, once their counts were seen.

    Attributes
    ----------
    mean
        Mean rate, cells × genes, at the cells' library size.
    """

    mean: torch.Tensor

    @abstractmethod
    def std(self) -> torch.Tensor:
        """Standard deviation of the rate."""

    @abstractmethod
    def expected_log1p(self, mean: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """Mean of log1p(factor × count) of a new measurement with this mean.

        Parameters
        ----------
        mean
            Mean count of the new measurement: the mean rate, scaled.
        factor
            Scale of the count inside the logarithm, cells × 1.
        """

    @abstractmethod
    def dropout(self, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Probability of each zero that the gene is expressed, and its mean rate if it is.

        The probability is 0 where there is a count.
        """


class Tally(NamedTuple):
    """What held-out data tell of each gene, in sums over entries.

    Attributes
    ----------
    of_mean
        Deviance under the mean profile.
    gain, gain_squared
        By how much that of the model is lower, and the squares of that.
    n_entries
        Entries with a deviance.
    evidence, promise
        As the noise model gives them.
    """

    of_mean: torch.Tensor
    gain: torch.Tensor
    gain_squared: torch.Tensor
    n_entries: torch.Tensor
    evidence: torch.Tensor
    promise: torch.Tensor

    @property
    def is_enough(self) -> torch.Tensor:
        """Whether a gene can be judged."""
        return self.evidence >= 1 - 1e-6


class NoiseModel(nn.Module, ABC):
    """A noise model; what it fits to the data lives in buffers, and is saved with the network.

    Attributes
    ----------
    unit
        What is held out, in words.
    steps_per_validation
        Minibatches from one validation to the next.
    hidden_in_validation
        Share of the entries that early stopping hides from the network, so that training goes on
        while they are predicted better from the other genes, whose own values matter less.
    least_gain
        By how much the loss must fall from one validation to the next, for training to go on;
        with few cells, which are learned in smaller steps, less.
    min_gain
        Share of the loss below which bulk is not believed, see :meth:`gain`.
    keeps_library_size
        Whether the rates of a cell are scaled to sum to its library size.
    """

    unit: str
    steps_per_validation: int
    hidden_in_validation: float = 0.0
    least_gain: float
    min_gain: float
    keeps_library_size: bool

    # Pairs

    @staticmethod
    def prepared(counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """What training works on, of the counts of whole cells."""
        return counts

    @staticmethod
    @abstractmethod
    def hold_out(
        counts: sparse.csr_matrix, fraction: float, n_cells: int, generator: np.random.Generator
    ) -> Halves:
        """Split counts, once before training, into what training sees and what is held out.

        What is held out of the first ``n_cells`` cells is all that is ever looked at.
        """

    @staticmethod
    @abstractmethod
    def pair(counts: sparse.csr_matrix, generator: np.random.Generator) -> Pair:
        """Split the counts of a minibatch into what is shown and what is asked.

        NaN is what is not shown, or not asked.
        """

    @staticmethod
    @abstractmethod
    def held_out_pair(kept: sparse.csr_matrix, held_out: sparse.csr_matrix) -> Pair:
        """The same of what :meth:`hold_out` gave."""

    @staticmethod
    @abstractmethod
    def n_steps(n_cells: int, n_genes: int, from_scratch: bool) -> int:
        """Minibatches that training may take, from bulk or from scratch."""

    # Mean profile

    @staticmethod
    @abstractmethod
    def totals(
        counts: sparse.csr_matrix, batch_index: np.ndarray, n_batch: int
    ) -> NDArray[np.float64]:
        """Sums over cells that the mean profile is made of; those of parts of the cells add up."""

    @abstractmethod
    def log_mean(self, totals: NDArray[np.float64]) -> torch.Tensor:
        """Log of the mean profile of each batch, shrunken towards that of all cells.

        Batches × genes; genes without any count get ``LOG_ZERO``.
        """

    # Loss

    @staticmethod
    @abstractmethod
    def loss(
        log_ratios: torch.Tensor, log_mean: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of a prediction of what is asked, as a sum, and over how much the sum is."""

    @abstractmethod
    def held_out_loss(
        self, scores: torch.Tensor, counts: torch.Tensor, held_out: torch.Tensor
    ) -> torch.Tensor:
        """Loss of what the user would get, for early stopping; notes what :meth:`renew` needs."""

    # Calibration

    @abstractmethod
    def start(self, kept: sparse.csr_matrix, held_out: sparse.csr_matrix) -> None:
        """Fit the noise around the mean profile, before training."""

    @abstractmethod
    def renew(self) -> None:
        """Fit the noise to what was noted since the last time."""

    @abstractmethod
    def fit(self, minibatches: Iterable[Minibatch]) -> None:
        """Fit the noise to held-out data, once the network is trained."""

    @abstractmethod
    def raise_to_residuals(self, minibatches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Raise the noise of genes whose counts spread further; given scores and all counts."""

    @staticmethod
    @abstractmethod
    def best_scale(
        log_ratios: torch.Tensor, log_mean: torch.Tensor, held_out: torch.Tensor
    ) -> float:
        """One factor, from 0 to 2, under which log-ratios predict held-out data best."""

    @staticmethod
    @abstractmethod
    def slope(
        log_ratios: torch.Tensor, log_mean: torch.Tensor, counts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """How the fit to what is shown changes with each log-ratio, and its expected curvature.

        0 where nothing is shown.
        """

    @staticmethod
    @abstractmethod
    def gain(
        log_ratios: torch.Tensor, log_mean: torch.Tensor, held_out: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """By how much log-ratios predict held-out data better than the mean profile.

        As a sum, and over how much the sum is.
        """

    @abstractmethod
    def deviances(
        self,
        scores: torch.Tensor,
        log_mean: torch.Tensor,
        counts: torch.Tensor,
        held_out: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Deviance of each held-out entry under what the user would get, and under the mean.

        0 where nothing was held out.
        """

    @staticmethod
    def promise(scores: torch.Tensor, log_mean: torch.Tensor) -> torch.Tensor:
        """By how much each prediction, if it is right, is better than the mean."""
        return torch.zeros_like(scores)

    @abstractmethod
    def trusted(self, tally: Tally) -> torch.Tensor:
        """For each gene whether it is predicted better than by its mean."""

    @staticmethod
    @abstractmethod
    def evidence(held_out: torch.Tensor) -> torch.Tensor:
        """How far each entry tells of its gene: 1 in sum are enough to judge it."""

    # Posterior

    @staticmethod
    @abstractmethod
    def prior_mean(scores: torch.Tensor, library_size: torch.Tensor) -> torch.Tensor:
        """Mean rate before the counts are seen, cells × genes."""

    @staticmethod
    @abstractmethod
    def draw_counts(
        mean: torch.Tensor, std: torch.Tensor, generator: np.random.Generator
    ) -> np.ndarray:
        """Counts of a new measurement, given mean and standard deviation of the rates."""

    @abstractmethod
    def prior(
        self, scores: torch.Tensor, log_mean: torch.Tensor, counts: torch.Tensor
    ) -> Posterior:
        """What is known of the rates while an entry's own count is not looked at."""

    @abstractmethod
    def posterior(
        self, scores: torch.Tensor, log_mean: torch.Tensor, counts: torch.Tensor
    ) -> Posterior:
        """What is known of the rates once the counts are seen."""
