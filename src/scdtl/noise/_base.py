"""What a noise model decides: training pairs, the loss, what is held out, and the posterior.

The network predicts *log-ratios* of each gene to the mean profile; *scores* are log-ratios plus
the log of the mean profile. All that is made of scores and counts is the noise model's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    import numpy as np
    import torch
    from scipy import sparse

    Pair = tuple[sparse.csr_matrix, sparse.csr_matrix]


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


class NoiseModel(nn.Module, ABC):
    """A noise model; what it fits to the data lives in buffers, and is saved with the network."""

    # Pairs

    @staticmethod
    @abstractmethod
    def hold_out(
        counts: sparse.csr_matrix, fraction: float, generator: np.random.Generator
    ) -> Pair:
        """Split counts, once before training, into what training sees and what is held out."""

    @staticmethod
    @abstractmethod
    def pair(counts: sparse.csr_matrix, generator: np.random.Generator) -> Pair:
        """Split the counts of a minibatch into what is shown and what is asked."""

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
    def add_residuals(self, scores: torch.Tensor, counts: torch.Tensor) -> None:
        """Note how far all counts of a minibatch are from their prediction."""

    @abstractmethod
    def raise_to_residuals(self) -> None:
        """Raise the noise of genes whose residuals, as noted, spread further."""

    @staticmethod
    @abstractmethod
    def best_scale(
        log_ratios: torch.Tensor, log_mean: torch.Tensor, held_out: torch.Tensor
    ) -> float:
        """One factor, from 0 to 2, for log-ratios of a network that was not trained."""

    @staticmethod
    @abstractmethod
    def gain(
        log_ratios: torch.Tensor, log_mean: torch.Tensor, held_out: torch.Tensor
    ) -> torch.Tensor:
        """By how much log-ratios predict held-out data better than the mean profile, summed."""

    @abstractmethod
    def deviances(
        self,
        scores: torch.Tensor,
        log_mean: torch.Tensor,
        counts: torch.Tensor,
        held_out: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Deviance of each held-out entry under what the user would get, and under the mean."""

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
    def posterior(self, prior_mean: torch.Tensor, counts: torch.Tensor) -> Posterior:
        """What is known of the rates once the counts are seen."""
