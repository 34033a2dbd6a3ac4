"""UMI counts: molecules are sampled, and rates spread around their prediction (gamma-Poisson)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scdtl.data._counts import batch_totals, gene_totals
from scdtl.data._thin import entries_at_random, hide, thin
from scdtl.noise._base import NoiseModel, Posterior, Tally
from scdtl.noise._multinomial import log_or_zero, multinomial_nll
from scdtl.noise._posterior import (
    dispersion_moments,
    expected_log1p,
    posterior_mean,
    posterior_variation,
    residual_moments,
    shrunken_dispersion,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from scipy import sparse

    from scdtl.noise._base import Halves, Minibatch, Pair

_SHOWN_FRACTION = (0.5, 0.9)
_MAX_HIDDEN_SHARE = 0.4
_MIN_MOLECULES = 20
_SIGNIFICANT = 1.645  # standard errors, one-sided 5 %
_PSEUDOCOUNT = 0.5
_BATCH_PSEUDOCOUNTS_PER_GENE = 5.0
_MIN_VARIATION = 1e-3
_MAX_NEWTON_STEPS = 8
_STEPS_OF_ONE_GENE = 16_000
_MIN_STEPS, _MAX_STEPS = 96, 400


class Gamma(Posterior):
    """Gamma-distributed rates.

    Parameters
    ----------
    mean
        Mean rates, cells × genes.
    variation
        Their squared coefficient of variation, the inverse of the gamma's shape.
    """

    def __init__(self, mean: torch.Tensor, variation: torch.Tensor):
        self.mean = mean
        self._variation = variation

    def std(self) -> torch.Tensor:
        return self.mean * self._variation.sqrt()

    def expected_log1p(self, mean: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        return expected_log1p(mean, 1 / self._variation.clamp(min=_MIN_VARIATION), factor)

    def dropout(self, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The chance of a molecule in a second measurement, as deep as the first."""
        variation = self._variation.clamp(min=_MIN_VARIATION)
        again = -torch.expm1(-torch.log1p(variation * self.mean) / variation)
        return torch.where(counts > 0, 0, again), self.mean


class UMI(NoiseModel):
    """Sampled molecules: thinned in training, held out one by one, with a gamma posterior.

    Parameters
    ----------
    n_genes
        Number of genes.

    Notes
    -----
    Cells of even and odd rows are two folds: the dispersion that judges a cell is estimated from
    the other fold, so that no cell judges itself.
    """

    unit = "molecules"
    steps_per_validation = 64
    hidden_in_validation = 0.1
    least_gain = 8e-4  # nats per molecule
    min_gain = 0.006  # nats per molecule
    keeps_library_size = True

    dispersion: torch.Tensor
    fold_moments: torch.Tensor
    fold_dispersion: torch.Tensor

    def __init__(self, n_genes: int):
        super().__init__()
        self.register_buffer("dispersion", torch.zeros(n_genes))
        self.register_buffer("fold_moments", torch.zeros(2, 2, n_genes), persistent=False)
        self.register_buffer("fold_dispersion", torch.zeros(2, n_genes), persistent=False)

    @staticmethod
    def hold_out(
        counts: sparse.csr_matrix, fraction: float, n_cells: int, generator: np.random.Generator
    ) -> Halves:
        return thin(counts, 1 - fraction, generator)

    @staticmethod
    def pair(counts: sparse.csr_matrix, generator: np.random.Generator) -> Pair:
        """Molecules are shown or asked; some entries are hidden, but for what is asked of them.

        It costs nothing where all is shown later, and teaches to predict a gene from the others.
        """
        fraction = generator.uniform(*_SHOWN_FRACTION, size=counts.shape[0])
        shown, asked = (part.toarray() for part in thin(counts, fraction, generator))
        share = generator.uniform(0, _MAX_HIDDEN_SHARE, size=(counts.shape[0], 1))
        hide(shown, entries_at_random(shown.shape, share, generator))
        return shown, asked

    @staticmethod
    def held_out_pair(kept: sparse.csr_matrix, held_out: sparse.csr_matrix) -> Pair:
        return kept.toarray(), held_out.toarray()

    @staticmethod
    def n_steps(n_cells: int, n_genes: int, from_scratch: bool) -> int:
        """Few genes, those that vary, are learned longer than all of them."""
        steps = _STEPS_OF_ONE_GENE / n_genes**0.5 * max(1, n_cells / 1_000)
        return round(min(max(steps, _MIN_STEPS) * (1 + from_scratch), _MAX_STEPS))

    @staticmethod
    def totals(
        counts: sparse.csr_matrix, batch_index: np.ndarray, n_batch: int
    ) -> NDArray[np.float64]:
        """Molecules of each gene, batches × genes."""
        return batch_totals(counts, batch_index, n_batch)

    def log_mean(self, totals: NDArray[np.float64]) -> torch.Tensor:
        total = totals.sum(axis=0)
        profile = np.where(total > 0, total + _PSEUDOCOUNT, 0)
        profile /= max(profile.sum(), 1)
        profiles = profile[None]
        if len(totals) > 1:
            own = totals + _BATCH_PSEUDOCOUNTS_PER_GENE * np.count_nonzero(total) * profile
            profiles = own / np.maximum(own.sum(axis=1, keepdims=True), 1)
        return log_or_zero(profiles)

    @staticmethod
    def loss(
        log_ratios: torch.Tensor, log_mean: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Negative log-likelihood of the molecules (multinomial), and their number."""
        return multinomial_nll(log_ratios, log_mean, target).sum(), target.sum().clamp(min=1.0)

    def held_out_loss(
        self, scores: torch.Tensor, counts: torch.Tensor, held_out: torch.Tensor
    ) -> torch.Tensor:
        """The same per held-out molecule, with the posterior mean as the prediction.

        Where the entry is hidden, with the prediction from the other genes.
        """
        shown = (counts >= 0).to(counts.dtype)  # comparison with NaN is false
        counts = counts.nan_to_num(0.0)
        proportions = torch.softmax(scores, dim=1)
        share = (proportions * shown).sum(1, keepdim=True)
        mu = proportions * (counts.sum(1, keepdim=True) / share.clamp(min=1e-6))
        size_held_out = held_out.sum(1, keepdim=True)
        moments = counts, mu * shown, held_out, proportions * size_held_out
        for fold in (0, 1):
            of_fold = [part[fold::2] for part in moments]
            self.fold_moments[fold] += torch.stack(dispersion_moments(*of_fold))
        rate = torch.lerp(mu, self._held_out_rate(mu, counts), shown)
        nll = (size_held_out * rate.sum(1, keepdim=True).clamp(min=1e-12).log()).sum()
        nll = nll - torch.xlogy(held_out, rate.clamp(min=1e-12)).sum()
        return nll / size_held_out.sum().clamp(min=1.0)

    def _held_out_rate(self, mu: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Posterior mean for held-out molecules, at the library size of the molecules shown."""
        n_pairs = -(-len(mu) // 2)
        dispersion = self.fold_dispersion.flip(0).repeat(n_pairs, 1)[: len(mu)]
        return posterior_mean(mu, counts, dispersion)

    def start(self, kept: sparse.csr_matrix, held_out: sparse.csr_matrix) -> None:
        for fold in (0, 1):
            self.fold_dispersion[fold] = _mean_profile_dispersion(kept[fold::2], held_out[fold::2])

    def renew(self) -> None:
        for fold in (0, 1):
            self.fold_dispersion[fold] = shrunken_dispersion(*self.fold_moments[fold])
        self.dispersion.copy_(shrunken_dispersion(*self.fold_moments.sum(0)))
        self.fold_moments.zero_()

    def fit(self, minibatches: Iterable[Minibatch]) -> None:
        for scores, _, counts, held_out in minibatches:
            self.held_out_loss(scores, counts, held_out)
        self.renew()

    def raise_to_residuals(self, minibatches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Take the larger of two estimates.

        They err in different ways, one by noise and one downwards; the larger of the two
        predicted held-out molecules better than the first alone on every data set tried.
        """
        moments = torch.zeros(2, len(self.dispersion), device=self.dispersion.device)
        for scores, counts in minibatches:
            mu = self.prior_mean(scores, counts.sum(1, keepdim=True))
            moments += torch.stack(residual_moments(counts, mu))
        residual = shrunken_dispersion(*moments)
        self.dispersion.copy_(torch.maximum(self.dispersion, residual))

    @staticmethod
    def best_scale(
        log_ratios: torch.Tensor, log_mean: torch.Tensor, held_out: torch.Tensor
    ) -> float:
        """Factor under which held-out molecules are likeliest (Newton's method).

        The loss is convex in the factor; its derivatives are moments of the log-ratios under the
        prediction. Factors below 0 are cut to 0, the mean profile.
        """
        library_size = held_out.sum(1)
        observed = float((held_out * log_ratios).sum())
        scale = 0.5
        for _ in range(_MAX_NEWTON_STEPS):
            p = torch.softmax(log_mean + scale * log_ratios, dim=1)
            mean = (p * log_ratios).sum(1)
            variance = (p * log_ratios.square()).sum(1) - mean.square()
            slope = float((library_size * mean).sum()) - observed
            curvature = float((library_size * variance).sum())
            if curvature <= 0:
                return 0.0
            step = slope / curvature
            scale = float(np.clip(scale - step, 0.0, 2.0))
            if abs(step) < 1e-3:
                break
        return scale

    @staticmethod
    def slope(
        log_ratios: torch.Tensor, log_mean: torch.Tensor, counts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the likelihood of the molecules, without what the softmax shares."""
        mu = torch.softmax(log_mean + log_ratios, dim=1) * counts.sum(1, keepdim=True)
        return counts - mu, mu

    @staticmethod
    def gain(
        log_ratios: torch.Tensor, log_mean: torch.Tensor, held_out: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """In nats, over the molecules."""
        gained = torch.log_softmax(log_mean + log_ratios, 1) - torch.log_softmax(log_mean, 1)
        return (held_out * gained).sum(), held_out.sum()

    def deviances(
        self,
        scores: torch.Tensor,
        log_mean: torch.Tensor,
        counts: torch.Tensor,
        held_out: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        library_size = held_out.sum(1, keepdim=True)
        mu = self.prior_mean(scores, counts.sum(1, keepdim=True))
        rate = self._held_out_rate(mu, counts)
        rate = rate * (library_size / rate.sum(1, keepdim=True).clamp(min=1e-12))
        return _deviance(held_out, rate), _deviance(held_out, library_size * log_mean.exp())

    def trusted(self, tally: Tally) -> torch.Tensor:
        """By a one-sided test of the gains of single entries."""
        return tally.is_enough & (tally.gain > _SIGNIFICANT * tally.gain_squared.sqrt())

    @staticmethod
    def evidence(held_out: torch.Tensor) -> torch.Tensor:
        return held_out / _MIN_MOLECULES

    @staticmethod
    def prior_mean(scores: torch.Tensor, library_size: torch.Tensor) -> torch.Tensor:
        return torch.softmax(scores, dim=1) * library_size

    @staticmethod
    def draw_counts(
        mean: torch.Tensor, std: torch.Tensor, generator: np.random.Generator
    ) -> np.ndarray:
        means, stds = (x.cpu().double().numpy() for x in (mean, std))
        spread = np.divide(stds**2, means, out=np.zeros_like(means), where=means > 0)
        shape = np.divide(means, spread, out=np.ones_like(means), where=spread > 0)
        rates = np.where(spread > 0, generator.gamma(shape) * spread, means)
        return generator.poisson(rates)

    def prior(self, scores: torch.Tensor, log_mean: torch.Tensor, counts: torch.Tensor) -> Gamma:
        mean = self.prior_mean(scores, counts.sum(1, keepdim=True))
        return Gamma(mean, self.dispersion.expand_as(mean))

    def posterior(
        self, scores: torch.Tensor, log_mean: torch.Tensor, counts: torch.Tensor
    ) -> Gamma:
        mu = self.prior_mean(scores, counts.sum(1, keepdim=True))
        mean = posterior_mean(mu, counts, self.dispersion)
        return Gamma(mean, posterior_variation(counts, self.dispersion))


def _mean_profile_dispersion(kept: sparse.csr_matrix, held_out: sparse.csr_matrix) -> torch.Tensor:
    """Dispersion around the mean profile, on stored values only."""
    sizes, sizes_held_out = (np.asarray(part.sum(1)).ravel() for part in (kept, held_out))
    mean = gene_totals(kept)
    mean /= max(mean.sum(), 1)
    both = gene_totals(kept.multiply(held_out))
    cross = mean * (held_out.T @ sizes + kept.T @ sizes_held_out)
    expected = mean**2 * (sizes @ sizes_held_out)
    return shrunken_dispersion(*(torch.from_numpy(x) for x in (both - cross + expected, expected)))


def _deviance(counts: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
    """Poisson deviance of each entry."""
    rate = rate.clamp(min=1e-6)
    return 2 * (torch.xlogy(counts, counts / rate) - counts + rate).double()
