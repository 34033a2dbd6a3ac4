"""UMI counts: molecules are sampled, and rates spread around their prediction (gamma-Poisson)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scdtl.data._counts import gene_totals
from scdtl.data._thin import thin
from scdtl.noise._base import NoiseModel, Posterior
from scdtl.noise._multinomial import multinomial_nll
from scdtl.noise._posterior import (
    dispersion_moments,
    expected_log1p,
    posterior_mean,
    posterior_std,
    residual_moments,
    shrunken_dispersion,
)

if TYPE_CHECKING:
    from scipy import sparse

    from scdtl.noise._base import Pair

_SHOWN_FRACTION = (0.5, 0.9)
_MIN_DISPERSION = 1e-3
_MAX_NEWTON_STEPS = 8


class GammaPosterior(Posterior):
    """Gamma posterior of the rates.

    Parameters
    ----------
    prior_mean, counts
        Predicted and observed counts, cells × genes.
    dispersion
        Over-dispersion of each gene.
    """

    def __init__(self, prior_mean: torch.Tensor, counts: torch.Tensor, dispersion: torch.Tensor):
        self._given = prior_mean, counts, dispersion
        self.mean = posterior_mean(*self._given)

    def std(self) -> torch.Tensor:
        return posterior_std(*self._given)

    def expected_log1p(self, mean: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        _, counts, dispersion = self._given
        return expected_log1p(mean, 1 / dispersion.clamp(min=_MIN_DISPERSION) + counts, factor)


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

    dispersion: torch.Tensor
    fold_moments: torch.Tensor
    fold_dispersion: torch.Tensor
    residuals: torch.Tensor

    def __init__(self, n_genes: int):
        super().__init__()
        self.register_buffer("dispersion", torch.zeros(n_genes))
        self.register_buffer("fold_moments", torch.zeros(2, 2, n_genes), persistent=False)
        self.register_buffer("fold_dispersion", torch.zeros(2, n_genes), persistent=False)
        self.register_buffer("residuals", torch.zeros(2, n_genes), persistent=False)

    @staticmethod
    def hold_out(
        counts: sparse.csr_matrix, fraction: float, generator: np.random.Generator
    ) -> Pair:
        return thin(counts, 1 - fraction, generator)

    @staticmethod
    def pair(counts: sparse.csr_matrix, generator: np.random.Generator) -> Pair:
        fraction = generator.uniform(*_SHOWN_FRACTION, size=counts.shape[0])
        return thin(counts, fraction, generator)

    @staticmethod
    def loss(
        log_ratios: torch.Tensor, log_mean: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Negative log-likelihood of the molecules (multinomial), and their number."""
        return multinomial_nll(log_ratios, log_mean, target).sum(), target.sum().clamp(min=1.0)

    def held_out_loss(
        self, scores: torch.Tensor, counts: torch.Tensor, held_out: torch.Tensor
    ) -> torch.Tensor:
        """The same per held-out molecule, with the posterior mean as the prediction."""
        rate = self._held_out_rate(scores, counts, held_out, self.fold_moments)
        nll = -torch.xlogy(held_out, rate.clamp(min=1e-12)).sum()
        nll = nll + (held_out.sum(1) * rate.sum(1).clamp(min=1e-12).log()).sum()
        return nll / held_out.sum().clamp(min=1.0)

    def _held_out_rate(
        self,
        scores: torch.Tensor,
        counts: torch.Tensor,
        held_out: torch.Tensor,
        moments: torch.Tensor,
    ) -> torch.Tensor:
        """Posterior mean for held-out molecules, at the library size of the molecules shown.

        ``moments`` gathers those of the dispersion, per fold.
        """
        proportions = torch.log_softmax(scores, dim=1).exp()
        mu = proportions * counts.sum(1, keepdim=True)
        mu_held_out = proportions * held_out.sum(1, keepdim=True)
        rate = torch.empty_like(mu)
        for fold in (0, 1):
            rows = slice(fold, None, 2)
            moments[fold] += torch.stack(
                dispersion_moments(counts[rows], mu[rows], held_out[rows], mu_held_out[rows])
            )
            rate[rows] = posterior_mean(mu[rows], counts[rows], self.fold_dispersion[1 - fold])
        return rate

    def start(self, kept: sparse.csr_matrix, held_out: sparse.csr_matrix) -> None:
        for fold in (0, 1):
            self.fold_dispersion[fold] = _mean_profile_dispersion(kept[fold::2], held_out[fold::2])

    def renew(self) -> None:
        for fold in (0, 1):
            self.fold_dispersion[fold] = shrunken_dispersion(*self.fold_moments[fold])
        self.dispersion.copy_(shrunken_dispersion(*self.fold_moments.sum(0)))
        self.fold_moments.zero_()

    def add_residuals(self, scores: torch.Tensor, counts: torch.Tensor) -> None:
        mu = self.prior_mean(scores, counts.sum(1, keepdim=True))
        self.residuals += torch.stack(residual_moments(counts, mu))

    def raise_to_residuals(self) -> None:
        """Take the larger of two estimates.

        They err in different ways, one by noise and one downwards; the larger of the two
        predicted held-out molecules better than the first alone on every data set tried.
        """
        residual = shrunken_dispersion(*self.residuals)
        self.dispersion.copy_(torch.maximum(self.dispersion, residual))
        self.residuals.zero_()

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
    def gain(
        log_ratios: torch.Tensor, log_mean: torch.Tensor, held_out: torch.Tensor
    ) -> torch.Tensor:
        """In nats."""
        gained = torch.log_softmax(log_mean + log_ratios, 1) - torch.log_softmax(log_mean, 1)
        return (held_out * gained).sum()

    def deviances(
        self,
        scores: torch.Tensor,
        log_mean: torch.Tensor,
        counts: torch.Tensor,
        held_out: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        library_size = held_out.sum(1, keepdim=True)
        moments = torch.zeros_like(self.fold_moments)  # not noted: these cells were
        rate = self._held_out_rate(scores, counts, held_out, moments)
        rate = rate * (library_size / rate.sum(1, keepdim=True).clamp(min=1e-12))
        return _deviance(held_out, rate), _deviance(held_out, library_size * log_mean.exp())

    @staticmethod
    def prior_mean(scores: torch.Tensor, library_size: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(scores, dim=1).exp() * library_size

    @staticmethod
    def draw_counts(
        mean: torch.Tensor, std: torch.Tensor, generator: np.random.Generator
    ) -> np.ndarray:
        means, stds = (x.cpu().double().numpy() for x in (mean, std))
        spread = np.divide(stds**2, means, out=np.zeros_like(means), where=means > 0)
        shape = np.divide(means, spread, out=np.ones_like(means), where=spread > 0)
        rates = np.where(spread > 0, generator.gamma(shape) * spread, means)
        return generator.poisson(rates)

    def posterior(self, prior_mean: torch.Tensor, counts: torch.Tensor) -> GammaPosterior:
        return GammaPosterior(prior_mean, counts, self.dispersion)


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
