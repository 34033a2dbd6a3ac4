"""Reads: whole entries drop out, so entries are hidden, and predicted from the other genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

from scdtl.data._counts import batch_totals
from scdtl.data._thin import entries_at_random, hide
from scdtl.noise._base import NoiseModel, Posterior, Tally, lowest
from scdtl.noise._multinomial import LOG_ZERO, log_or_zero

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from scdtl.noise._base import Halves, Minibatch, Pair

_CP10K = 1e4
_HIDDEN_SHARE = (0.1, 0.4)
_MIN_POSITIVE = 5
_CELLS_PER_BLOCK = 256
_PSEUDO_CELLS = 5.0
_BIN, _N_BINS = 0.25, 48
_ENOUGH_ENTRIES = 1_000_000
_PSEUDO_ENTRIES = 20
_MAX_LOG_RATIO = 5.0
_READS_OF_ZERO = 0.5
_MIN_CHANCE = 0.1
_GENES_PER_STRATUM, _TRUSTED_CHANCE = 200, 0.85
_RIDGE, _NEWTON_STEPS = 1.0, 25
_N_STEPS = 480


class OnLogScale(Posterior):
    """Rates by mean and standard deviation of log1p of counts per 10,000.

    Parameters
    ----------
    log_mean, log_std
        Of that logarithm, cells × genes.
    per_10k
        What a count is per 10,000, cells × 1.
    chance, if_expressed
        Chance of a count by the other genes, and the logarithm's mean if there is one.
    """

    def __init__(
        self,
        log_mean: torch.Tensor,
        log_std: torch.Tensor,
        per_10k: torch.Tensor,
        chance: torch.Tensor,
        if_expressed: torch.Tensor,
    ):
        self.mean = torch.expm1(log_mean) / per_10k
        self._log_std, self._per_10k = log_std, per_10k
        self._chance, self._if_expressed = chance, if_expressed

    def std(self) -> torch.Tensor:
        return self._log_std * (self.mean + 1 / self._per_10k)

    def expected_log1p(self, mean: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """The same as on the scale ``"log1p"``: means are means of logarithms."""
        return torch.log1p(factor * mean)

    def dropout(self, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The chance, by the other genes, of a count in a second measurement of the like."""
        rate = torch.expm1(self._if_expressed) / self._per_10k
        return torch.where(counts > 0, 0, self._chance), rate


class Reads(NoiseModel):
    """Reads of full-length protocols, TPM and similar values.

    Copies of one molecule are counted as many reads, so that reads held out tell nothing; whole
    entries are held out instead, as if they had not been measured. The loss is the squared error
    of log1p of counts per 10,000, which the mean profile is the mean of.

    Parameters
    ----------
    n_genes
        Number of genes.
    """

    unit = "entries"
    steps_per_validation = 32
    least_gain = 1e-4
    min_gain = 0.004  # of the squared error; with shuffled genes it gains up to 0.0013
    keeps_library_size = False

    detection: torch.Tensor
    detection_curve: torch.Tensor
    spread: torch.Tensor
    spread_if_expressed: torch.Tensor

    def __init__(self, n_genes: int):
        super().__init__()
        self.register_buffer("detection", torch.zeros(n_genes))
        self.register_buffer("detection_curve", torch.zeros(4))
        self.register_buffer("spread", torch.zeros(_N_BINS))
        self.register_buffer("spread_if_expressed", torch.zeros(_N_BINS))

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
        kept, held_out = [counts[:0]], [counts[:0]]
        starts = range(0, min(n_cells, counts.shape[0]), _CELLS_PER_BLOCK)
        # A generator for each block: genes without counts more do not change the next one.
        for start, own in zip(starts, generator.spawn(len(starts)), strict=True):
            entries = counts[start : min(start + _CELLS_PER_BLOCK, n_cells)].toarray()
            hidden = entries_at_random(entries.shape, fraction, own)
            held_out.append(sparse.csr_matrix(np.where(hidden, entries, 0)))
            hide(entries, hidden)
            kept.append(sparse.csr_matrix(entries))
        return (
            sparse.vstack([*kept, counts[n_cells:]], format="csr"),
            sparse.vstack(held_out, format="csr"),
        )

    @staticmethod
    def pair(counts: sparse.csr_matrix, generator: np.random.Generator) -> Pair:
        share = generator.uniform(*_HIDDEN_SHARE, size=(counts.shape[0], 1))
        shown = counts.toarray()
        hidden = entries_at_random(shown.shape, share, generator)
        asked = np.where(hidden, np.log1p(shown), np.float32(np.nan))
        hide(shown, hidden)
        return shown, asked

    @staticmethod
    def held_out_pair(kept: sparse.csr_matrix, held_out: sparse.csr_matrix) -> Pair:
        shown = kept.toarray()
        asked = np.log1p(held_out.toarray())
        return shown, np.where(np.isnan(shown), asked, np.float32(np.nan))

    @staticmethod
    def n_steps(n_cells: int, n_genes: int, from_scratch: bool) -> int:
        return _N_STEPS

    @staticmethod
    def totals(
        counts: sparse.csr_matrix, batch_index: np.ndarray, n_batch: int
    ) -> NDArray[np.float64]:
        """Sum of the logarithms, numbers of entries known and detected; 3 × batches × genes."""
        logs, hidden, detected = (
            batch_totals(_with_data(counts, data), batch_index, n_batch)
            for data in (
                np.log1p(np.nan_to_num(counts.data)),
                np.isnan(counts.data),
                counts.data > 0,
            )
        )
        n_cells = np.bincount(batch_index, minlength=n_batch)[:, None]
        return np.stack([logs, n_cells - hidden, detected])

    def log_mean(self, totals: NDArray[np.float64]) -> torch.Tensor:
        """Of the proportion whose log1p at 10,000 counts is the mean over cells.

        Notes how often each gene is detected.
        """
        sums, n_known, n_detected = totals
        rate = (n_detected.sum(0) + 0.5) / (n_known.sum(0) + 1)
        self.detection.copy_(torch.from_numpy(rate).logit())
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
        total, n_asked = self.loss(scores, torch.zeros(()), held_out)
        return total / n_asked

    def start(self, kept: sparse.csr_matrix, held_out: sparse.csr_matrix) -> None:
        """Nothing to do: the loss needs no noise."""

    def renew(self) -> None:
        """Nothing to do."""

    def fit(self, minibatches: Iterable[Minibatch]) -> None:
        """Fit the chance of detection, and the spread around predictions of like height."""
        parts: list[torch.Tensor] = []
        for scores, log_mean, counts, held_out in minibatches:
            asked = ~held_out.isnan()
            columns = [*self._evidence(scores, log_mean, counts), scores, held_out]
            parts.append(torch.column_stack([x.expand_as(scores)[asked] for x in columns]))
            if sum(map(len, parts)) > _ENOUGH_ENTRIES:
                break
        entries = torch.cat(parts).double()
        evidence, scores, truth = entries[:, :-2], entries[:, -2], entries[:, -1]
        self.detection_curve.copy_(logistic_fit(evidence, (truth > 0).double()))
        predicted, positive = _log1p_10k(scores), truth > 0
        chance = torch.sigmoid(evidence @ self.detection_curve.double())
        expressed = (predicted / chance.clamp(min=_MIN_CHANCE))[positive]
        self.spread.copy_(_spread(predicted, truth))
        self.spread_if_expressed.copy_(_spread(expressed, truth[positive]))

    def _evidence(
        self, scores: torch.Tensor, log_mean: torch.Tensor, counts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """What detection depends on: log-ratio, detection rates of the gene and of the cell, 1."""
        log_ratios = (scores - log_mean).clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
        n_known = (~counts.isnan()).sum(1, keepdim=True)
        rate = ((counts > 0).sum(1, keepdim=True) + 0.5) / (n_known + 1)
        return log_ratios, self.detection, rate.logit(), torch.ones_like(rate)

    @classmethod
    def best_scale(
        cls, log_ratios: torch.Tensor, log_mean: torch.Tensor, held_out: torch.Tensor
    ) -> float:
        """With the smallest squared error."""
        scales = [step / 10 for step in range(21)]
        losses = [float(cls.loss(s * log_ratios, log_mean, held_out)[0]) for s in scales]
        return lowest(scales, losses)

    @staticmethod
    def slope(
        log_ratios: torch.Tensor, log_mean: torch.Tensor, counts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of half the squared error."""
        predicted = _log1p_10k(log_mean + log_ratios)
        of_log_ratio = -torch.expm1(-predicted) * (counts >= 0)  # false for NaN
        error = torch.log1p(counts.nan_to_num(0.0)) - predicted
        return error * of_log_ratio, of_log_ratio.square()

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
    def promise(scores: torch.Tensor, log_mean: torch.Tensor) -> torch.Tensor:
        """Squared distance of prediction and mean, by which the squared error falls."""
        return (_log1p_10k(scores) - _log1p_10k(log_mean)).square()

    def trusted(self, tally: Tally) -> torch.Tensor:
        """By empirical Bayes: a gene has few entries, and genes of like promise tell the same.

        Within strata of promise, the gains of genes spread around a common multiple of their
        promise. A gene is trusted if, after its own entries, as many unseen ones would be
        predicted better than by its mean with a probability of 85 %.
        """
        n = tally.n_entries.clamp(min=1)
        gain, promise = tally.gain / n, tally.promise
        spread = tally.gain_squared / n - gain.square()
        trusted = torch.zeros_like(tally.is_enough)
        known = torch.nonzero(tally.is_enough).ravel()
        ranked = known[torch.argsort(promise[known], stable=True)]
        for genes in torch.tensor_split(ranked, max(1, len(ranked) // _GENES_PER_STRATUM)):
            if not len(genes):
                continue
            of_entry = spread[genes].mean().clamp(min=1e-12)
            error = of_entry / n[genes]
            weight = promise[genes] / error
            slope = (weight * gain[genes]).sum() / (weight * promise[genes]).sum().clamp(min=1e-12)
            expected = slope * promise[genes]
            between = ((gain[genes] - expected).square() - error).mean().clamp(min=1e-12)
            posterior = (expected / between + gain[genes] / error) / (1 / between + 1 / error)
            variance = 1 / (1 / between + 1 / error) + error
            trusted[genes] = torch.special.ndtr(posterior / variance.sqrt()) > _TRUSTED_CHANCE
        return trusted

    @staticmethod
    def evidence(held_out: torch.Tensor) -> torch.Tensor:
        return (held_out > 0) / _MIN_POSITIVE

    def raise_to_residuals(self, minibatches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Nothing to do: what was predicted was not shown."""

    @staticmethod
    def draw_counts(
        mean: torch.Tensor, std: torch.Tensor, generator: np.random.Generator
    ) -> np.ndarray:
        """Of the same library, sequenced anew."""
        means, stds = (x.cpu().double().numpy() for x in (mean, std))
        return generator.poisson(np.maximum(generator.normal(means, stds), 0))

    @staticmethod
    def prior_mean(scores: torch.Tensor, library_size: torch.Tensor) -> torch.Tensor:
        return scores.clamp(max=0).exp() * library_size

    def prior(
        self, scores: torch.Tensor, log_mean: torch.Tensor, counts: torch.Tensor
    ) -> OnLogScale:
        predicted = _log1p_10k(scores)
        spread, per_10k = self.spread[_bin(predicted)], _per_10k(counts)
        return OnLogScale(predicted, spread, per_10k, *self._detected(scores, log_mean, counts))

    def posterior(
        self, scores: torch.Tensor, log_mean: torch.Tensor, counts: torch.Tensor
    ) -> OnLogScale:
        r"""Value and prediction, each weighed by the other's variance.

        That of the prediction is measured at held-out entries; that of the value is the sampling
        of reads, :math:`c / (L / 10^4 + c)^2` for c of L reads. A zero, if the gene is expressed,
        stands for half a read.
        """
        per_10k = _per_10k(counts)
        value = torch.log1p(counts * per_10k)
        chance, if_expressed = self._detected(scores, log_mean, counts)
        variance = self.spread_if_expressed[_bin(if_expressed)].square()
        of_value = counts.clamp(min=_READS_OF_ZERO) * (per_10k / (1 + per_10k * counts)).square()
        weight = variance / (variance + of_value).clamp(min=1e-12)
        of_zero = chance * torch.log1p(_READS_OF_ZERO * per_10k)
        mean = torch.where(counts > 0, torch.lerp(if_expressed, value, weight), of_zero)
        return OnLogScale(mean, (weight * of_value).sqrt(), per_10k, chance, if_expressed)

    def _detected(
        self, scores: torch.Tensor, log_mean: torch.Tensor, counts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Chance of a count by the other genes, and the logarithm's mean if there is one."""
        evidence = self._evidence(scores, log_mean, counts)
        linear = sum(c * x for c, x in zip(self.detection_curve, evidence, strict=True))
        chance = torch.sigmoid(linear).masked_fill(log_mean <= LOG_ZERO, 0)
        return chance, _log1p_10k(scores) / chance.clamp(min=_MIN_CHANCE)


def logistic_fit(features: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
    """Coefficients of a logistic regression, by Newton's method with a touch of ridge.

    Parameters
    ----------
    features
        Entries × features, an intercept among them.
    outcome
        0 or 1 of each entry.
    """
    n_features = features.shape[1]
    beta = torch.zeros(n_features, dtype=features.dtype, device=features.device)
    ridge = _RIDGE * torch.eye(n_features, dtype=features.dtype, device=features.device)
    for _ in range(_NEWTON_STEPS):
        p = torch.sigmoid(features @ beta)
        slope = features.T @ (outcome - p) - ridge @ beta
        curvature = (features * (p * (1 - p))[:, None]).T @ features + ridge
        step = torch.linalg.solve(curvature, slope)
        beta = beta + step
        if step.abs().max() < 1e-6:
            break
    return beta


def _bin(predicted: torch.Tensor) -> torch.Tensor:
    return (predicted / _BIN).long().clamp(0, _N_BINS - 1)


def _spread(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Root mean squared error around predictions of like height."""
    squares, of_bin = (truth - predicted).square(), _bin(predicted)
    n = torch.bincount(of_bin, minlength=_N_BINS) + _PSEUDO_ENTRIES
    total = torch.bincount(
        of_bin, squares, minlength=_N_BINS
    ) + _PSEUDO_ENTRIES * squares.sum() / max(1, len(squares))
    return (total / n).sqrt()


def _per_10k(counts: torch.Tensor) -> torch.Tensor:
    return _CP10K / counts.sum(1, keepdim=True).clamp(min=1)


def _with_data(counts: sparse.csr_matrix, data: np.ndarray) -> sparse.csr_matrix:
    parts = (data.astype(np.float32), counts.indices, counts.indptr)
    return sparse.csr_matrix(parts, shape=counts.shape)


def _log1p_10k(log_proportions: torch.Tensor) -> torch.Tensor:
    return torch.log1p(_CP10K * log_proportions.clamp(max=0).exp())
