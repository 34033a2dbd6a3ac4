"""Reads: whole entries drop out, so entries are hidden, and predicted from the other genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

from scdtl.data._counts import batch_totals
from scdtl.noise._base import NoiseModel, Posterior
from scdtl.noise._multinomial import LOG_ZERO, log_or_zero

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scdtl.noise._base import Halves, Pair

_CP10K = 1e4
_HIDDEN_SHARE = (0.1, 0.4)
_MIN_POSITIVE = 5
_PSEUDO_CELLS = 5.0
_BIN, _N_BINS = 0.25, 48


class LogNormal(Posterior):
    """Rates whose log1p of counts per 10,000 is normal.

    Parameters
    ----------
    log_mean, log_std
        Of that logarithm, cells × genes.
    per_10k
        Counts per 10,000 of a count of 1, cells × 1.
    """

    def __init__(self, log_mean: torch.Tensor, log_std: torch.Tensor, per_10k: torch.Tensor):
        self.mean = torch.expm1(log_mean) / per_10k
        self._log_std, self._per_10k = log_std, per_10k

    def std(self) -> torch.Tensor:
        return self._log_std * (self.mean + 1 / self._per_10k)

    def expected_log1p(self, mean: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """The mean itself is that of the logarithm."""
        return torch.log1p(factor * mean)


class Reads(NoiseModel):
    """Reads of full-length protocols, TPM and their like.

    Copies of one molecule are counted as many reads, so that reads held out tell nothing; whole
    entries are held out instead, as if they had not been measured. The loss is the squared error
    of log1p of counts per 10,000, which the mean profile is the mean of.

    Parameters
    ----------
    n_genes
        Number of genes.
    """

    max_steps = 480
    min_gain = 0.01  # of the squared error
    keeps_library_size = False

    bins: torch.Tensor
    noted: torch.Tensor

    def __init__(self, n_genes: int):
        super().__init__()
        self.register_buffer("bins", torch.zeros(4, _N_BINS))
        self.register_buffer(
            "noted", torch.zeros(4, _N_BINS, dtype=torch.float64), persistent=False
        )

    @staticmethod
    def prepared(counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """Counts per 10,000."""
        total = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
        factor = np.divide(_CP10K, total, out=np.zeros_like(total), where=total > 0)
        data = counts.data * np.repeat(factor, np.diff(counts.indptr)).astype(np.float32)
        return sparse.csr_matrix((data, counts.indices, counts.indptr), shape=counts.shape)

    @staticmethod
    def hold_out(
        counts: sparse.csr_matrix, fraction: float, n_cells: int, generator: np.random.Generator
    ) -> Halves:
        """Of the first cells; in the kept part NaN is stored where an entry is held out."""
        first = counts[:n_cells]
        hidden = _at_random(first.shape, fraction, generator)
        entries = first.toarray()
        held_out = sparse.csr_matrix(np.where(hidden, entries, 0))
        kept = sparse.csr_matrix(np.where(hidden, np.float32(np.nan), entries))
        return sparse.vstack([kept, counts[n_cells:]], format="csr"), held_out

    @staticmethod
    def pair(counts: sparse.csr_matrix, generator: np.random.Generator) -> Pair:
        share = generator.uniform(*_HIDDEN_SHARE, size=(counts.shape[0], 1))
        shown = counts.toarray()
        hidden = _at_random(shown.shape, share, generator)
        asked = np.where(hidden, np.log1p(shown), np.float32(np.nan))
        shown[hidden] = np.nan
        return shown, asked

    @staticmethod
    def held_out_pair(kept: sparse.csr_matrix, held_out: sparse.csr_matrix) -> Pair:
        shown = kept.toarray()
        asked = np.log1p(held_out.toarray())
        return shown, np.where(np.isnan(shown), asked, np.float32(np.nan))

    @staticmethod
    def totals(
        counts: sparse.csr_matrix, batch_index: np.ndarray, n_batch: int
    ) -> NDArray[np.float64]:
        """Sum of the logarithms and number of entries known, 2 × batches × genes."""
        logs, hidden = counts.copy(), counts.copy()
        logs.data = np.log1p(np.nan_to_num(counts.data))
        hidden.data = np.isnan(counts.data).astype(np.float32)
        n_cells = np.bincount(batch_index, minlength=n_batch)[:, None]
        n_hidden = batch_totals(hidden, batch_index, n_batch)
        return np.stack([batch_totals(logs, batch_index, n_batch), n_cells - n_hidden])

    @staticmethod
    def log_mean(totals: NDArray[np.float64]) -> torch.Tensor:
        """Of the proportion whose log1p at 10,000 counts is the mean over cells."""
        sums, n_known = totals
        mean = sums.sum(0) / np.maximum(n_known.sum(0), 1)
        means = mean[None]
        if len(sums) > 1:
            means = (sums + _PSEUDO_CELLS * mean) / (n_known + _PSEUDO_CELLS)
        return log_or_zero(np.expm1(means) / _CP10K)

    @staticmethod
    def loss(
        log_ratios: torch.Tensor, log_mean: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Squared error of log1p of counts per 10,000, and the number of entries asked."""
        error = (_log1p_10k(log_mean + log_ratios) - target).nan_to_num(0.0)
        return error.square().sum(), (~target.isnan()).sum().clamp(min=1)

    def held_out_loss(
        self, scores: torch.Tensor, counts: torch.Tensor, held_out: torch.Tensor
    ) -> torch.Tensor:
        """Squared error per held-out entry."""
        asked = ~held_out.isnan()
        predicted, truth = _log1p_10k(scores[asked]), held_out[asked]
        error = (predicted - truth).square()
        of_bin = self._bin(predicted)
        for noted, values in zip(
            self.noted, (torch.ones_like(error), error, truth > 0, predicted), strict=True
        ):
            noted += torch.bincount(of_bin, values.double(), minlength=_N_BINS)
        return error.mean() if len(error) else error.sum()

    def start(self, kept: sparse.csr_matrix, held_out: sparse.csr_matrix) -> None:
        pass

    def renew(self) -> None:
        self.bins.copy_(self.noted)
        self.noted.zero_()

    @staticmethod
    def _bin(predicted: torch.Tensor) -> torch.Tensor:
        return (predicted / _BIN).long().clamp(0, _N_BINS - 1)

    @classmethod
    def best_scale(
        cls, log_ratios: torch.Tensor, log_mean: torch.Tensor, held_out: torch.Tensor
    ) -> float:
        """With the smallest squared error, of steps of 0.1."""
        scales = torch.arange(0, 2.05, 0.1)
        losses = [float(cls.loss(s * log_ratios, log_mean, held_out)[0]) for s in scales]
        return float(scales[int(np.argmin(losses))])

    @classmethod
    def gain(
        cls, log_ratios: torch.Tensor, log_mean: torch.Tensor, held_out: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """In squared error, over that of the mean profile."""
        of_model, _ = cls.loss(log_ratios, log_mean, held_out)
        of_mean, _ = cls.loss(torch.zeros_like(log_ratios), log_mean, held_out)
        return of_mean - of_model, of_mean

    def deviances(
        self,
        scores: torch.Tensor,
        log_mean: torch.Tensor,
        counts: torch.Tensor,
        held_out: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Squared errors."""
        errors = (_log1p_10k(scores) - held_out, _log1p_10k(log_mean) - held_out)
        of_model, of_mean = (error.nan_to_num(0.0).square().double() for error in errors)
        return of_model, of_mean

    @staticmethod
    def evidence(held_out: torch.Tensor) -> torch.Tensor:
        return (held_out > 0) / _MIN_POSITIVE

    @staticmethod
    def prior_mean(scores: torch.Tensor, library_size: torch.Tensor) -> torch.Tensor:
        return scores.exp() * library_size

    def raise_to_residuals(self, minibatches) -> None:
        """Nothing to do: what was predicted was not shown."""

    @staticmethod
    def draw_counts(
        mean: torch.Tensor, std: torch.Tensor, generator: np.random.Generator
    ) -> np.ndarray:
        means, stds = (x.cpu().double().numpy() for x in (mean, std))
        return np.rint(np.maximum(generator.normal(means, stds), 0))

    def prior(self, prior_mean: torch.Tensor, counts: torch.Tensor) -> LogNormal:
        per_10k = _CP10K / counts.sum(1, keepdim=True).clamp(min=1)
        m = torch.log1p(prior_mean * per_10k)
        return LogNormal(m, torch.zeros_like(m), per_10k)

    def posterior(self, prior_mean: torch.Tensor, counts: torch.Tensor) -> LogNormal:
        return self.prior(prior_mean, counts)

    def dropout(self, prior_mean: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


def _log1p_10k(log_mean: torch.Tensor) -> torch.Tensor:
    return torch.log1p(_CP10K * log_mean.exp())


def _at_random(
    shape: tuple[int, int], share: float | np.ndarray, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """A share of the entries; drawn gene by gene, so that genes at the end change no other."""
    return generator.random(shape[::-1], dtype=np.float32).T < share
