"""Domain adaptation in closed form: bulk corrected by the cells, and the scale of all of it."""

from __future__ import annotations

import copy
from itertools import product
from typing import TYPE_CHECKING

import torch

from scdtl.model._held_out_cells import MIN_CELLS_TO_JUDGE
from scdtl.noise import lowest

if TYPE_CHECKING:
    from scdtl.model._held_out_cells import HeldOutCells
    from scdtl.module._scdtl import SCDTLModule

_LOADING_VARIANCES = (1.0, 10.0)
_GAIN_VARIANCES = (0.0, 0.3)
_SHARES = (0.9, 0.95, 1.0)


def adapt(module: SCDTLModule, cells: HeldOutCells) -> None:
    """Correct what bulk says of each gene by what the cells say, beside the networks as they are.

    How far the cells may depart from bulk, held-out data decide; not at all is among the choices.
    """
    co_expression = module.co_expression
    co_expression.forget_cells()
    if not co_expression.solve.any():
        return
    judged = _Judged(module, cells)
    if judged.scale == 0 or not judged.log_ratios.isfinite().all():
        return  # bulk has nothing to say, or training diverged
    correction = _Correction(module, cells, judged.scale)
    best_loss, best = judged.loss(judged.log_ratios), torch.zeros_like(co_expression.loadings)
    for variances in product(_LOADING_VARIANCES, _GAIN_VARIANCES):
        corrected = correction.at(*variances)
        co_expression.correct(corrected)
        change = co_expression.by_others(judged.components, judged.deviation) - judged.by_bulk
        step = module.noise.best_scale(
            change, judged.log_mean + judged.log_ratios, judged.held_out
        )
        loss = judged.loss(judged.log_ratios + step * change)
        if loss < best_loss:
            best_loss, best = loss, corrected * (step / judged.scale)
    co_expression.correct(best)


def fit_scale(module: SCDTLModule, cells: HeldOutCells, is_trained: bool) -> None:
    """Fit one factor for all log-ratios, as networks tend to say too much, trained or not.

    Beside the posterior, which adds what the own count says, up to a tenth less than the factor
    that is best without it may be better.
    """
    judged = _Judged(module, cells)
    if is_trained and not judged.can_tell:
        return
    losses = [judged.loss(share * judged.log_ratios) for share in _SHARES]
    module.log_ratio_scale.fill_(judged.scale * lowest(_SHARES, losses))


class _Judged:
    """Some cells, and how well a prediction does on what is held out of them.

    Log-ratios are scaled by the factor under which held-out data are likeliest.
    """

    def __init__(self, module: SCDTLModule, cells: HeldOutCells):
        self.counts, self.held_out, _, self.log_mean, self.deviation, by_networks = cells.judged()
        self.components = module.co_expression.components(self.deviation)
        self.by_bulk = module.co_expression.by_others(self.components, self.deviation)
        log_ratios = by_networks + self.by_bulk
        log_mean = self.log_mean.expand_as(log_ratios)
        self.scale = module.noise.best_scale(log_ratios, log_mean, self.held_out)
        self.log_ratios = self.scale * log_ratios
        self.noise = copy.deepcopy(module.noise)
        self.loss(self.log_ratios)
        self.noise.renew()
        enough = len(self.held_out) >= MIN_CELLS_TO_JUDGE
        self.can_tell = enough and bool(self.noise.evidence(self.held_out).any())

    def loss(self, log_ratios: torch.Tensor) -> float:
        """Held-out loss of the posterior, with the noise of the prediction as it was."""
        scores = self.log_mean + log_ratios
        return float(self.noise.held_out_loss(scores, self.counts, self.held_out))


class _Correction:
    """One step of Fisher scoring from bulk's loadings, which are the mean of the prior.

    Predictors are the components of each cell by the genes other than the one predicted. The prior
    lets a loading change as far as loadings on that component matter in bulk, and all loadings of
    a gene by a common gain. Genes have the same information matrix up to a factor, so that its
    eigenvectors serve all of them.
    """

    def __init__(self, module: SCDTLModule, cells: HeldOutCells, scale: float):
        co_expression = module.co_expression
        loadings = co_expression.loadings
        n_genes, n_components = loadings.shape
        measured = loadings[module.has_counts]  # genes without counts change nothing
        self.size = measured.square().sum(0).div(max(1, len(measured))).sqrt().double()
        slope_sums = self.size.new_zeros(n_genes, n_components)
        information = self.size.new_zeros(n_components, n_components)
        by_own, of_gene, squares = self.size.new_zeros(3, n_genes)
        for counts, _, _, log_mean, deviation, by_networks in cells:
            components = co_expression.components(deviation)
            by_bulk = co_expression.by_others(components, deviation)
            log_ratios = scale * (by_networks + by_bulk)
            slope, curvature = module.noise.slope(log_ratios, log_mean, counts)
            slope_sums += (slope.T @ components) * self.size
            components = components.double() * self.size
            information += (components * curvature.sum(1, keepdim=True)).T @ components
            by_own += (slope * (deviation - by_bulk)).sum(0)
            of_gene += curvature.sum(0)
            squares += slope.square().sum(0)
        slope_sums -= by_own[:, None] * co_expression.of_own * self.size
        # Rates vary beyond the sampling of molecules, so that the cells tell less.
        spread = (squares / of_gene.clamp(min=1e-12)).clamp(min=1)[:, None]
        values, self.directions = torch.linalg.eigh(information)
        share = of_gene / of_gene.sum().clamp(min=1e-12)
        self.information = share[:, None] * values / spread
        self.slopes = slope_sums @ self.directions / spread
        self.bulk = (loadings / self.size.clamp(min=1e-12)) @ self.directions

    def at(self, variance: float, variance_of_gain: float) -> torch.Tensor:
        """Genes × components, under a prior with these variances."""
        inverse = 1 / (self.information + 1 / variance)
        step, along = inverse * self.slopes, inverse * self.bulk
        # The gain of a gene is one more direction of the prior (Sherman and Morrison).
        length = self.bulk.square().sum(1, keepdim=True)
        weight = variance_of_gain / variance / (variance + variance_of_gain * length)
        projected = weight * (self.bulk * step).sum(1, keepdim=True)
        step += along * projected / (1 - weight * (self.bulk * along).sum(1, keepdim=True))
        return (step @ self.directions.T * self.size).float()
