"""Told by held-out data: whether bulk helps, the score, and trust in each gene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scdtl.model._held_out_cells import MIN_CELLS_TO_JUDGE, HeldOutCells, on_device
from scdtl.noise import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from scdtl.module._scdtl import SCDTLModule
    from scdtl.train._held_out import HeldOutSplitter

_DAE_BESIDE_CO_EXPRESSION = 0.5  # both say much the same


@torch.inference_mode()
def score(module: SCDTLModule, cells: HeldOutCells) -> tuple[float, np.ndarray, np.ndarray]:
    """Score a calibrated network on the held-out data of the split of training.

    Deviance explained beyond the mean profile, pooled over genes and per gene (NaN where there is
    too little to tell); and for each gene whether it is trusted.
    """
    sums = torch.zeros(6, module.log_mean.shape[1], dtype=torch.float64)
    for scores, log_mean, counts, held_out in cells.scores():
        of_model, of_mean = module.noise.deviances(scores, log_mean, counts, held_out)
        gain = of_mean - of_model
        parts = (
            of_mean,
            gain,
            gain.square(),
            of_mean > 0,
            module.noise.evidence(held_out),
            module.noise.promise(scores, log_mean),
        )
        sums += torch.stack([part.sum(0).double().cpu() for part in parts])
    tally = Tally(*sums)
    explained = torch.where(tally.is_enough, tally.gain / tally.of_mean, torch.nan)
    total = float(tally.of_mean.sum())
    pooled = float(tally.gain.sum()) / total if total > 0 else float("nan")
    return pooled, explained.float().numpy(), module.noise.trusted(tally).numpy()


@torch.inference_mode()
def raise_noise_to_residuals(module: SCDTLModule, split: HeldOutSplitter) -> None:
    """Raise the noise of genes whose residuals, over all molecules, spread further.

    The module is calibrated, with the mean profile of all counts.
    """
    module.noise.raise_to_residuals(_scores_of_all(module, split))


@torch.no_grad()
def settle_bulk(module: SCDTLModule, split: HeldOutSplitter) -> bool:
    """Settle how bulk speaks, before any training, and tell whether it predicts held-out data.

    That is by DAE and co-expression, or by the DAE alone where that gains more: in very shallow
    cells, and on panels of few genes. Weights whose genes were shuffled gain at most 0.0005 nats
    per molecule and 0.0023 of the squared error of reads on the data sets of the benchmark, the
    real ones at least 0.0143 and 0.0291. With fewer than 10 cells this is too uncertain, and bulk
    is kept.
    """
    module.eval()
    cells = HeldOutCells(module, split.calibration_dataloader())
    _, held_out, _, log_mean, deviation, by_networks = cells.judged()
    # The deviations of a cell are mostly noise.
    noise = float(deviation.square().sum(1).mean()) / module.n_with_counts
    module.co_expression.regress_on(module.has_counts, noise)
    by_co_expression, log_mean = module.co_expression(deviation), log_mean.expand_as(deviation)
    both = _DAE_BESIDE_CO_EXPRESSION * by_networks + by_co_expression
    gain_of_both = _gain(module, both, log_mean, held_out)
    gain_alone = _gain(module, by_networks, log_mean, held_out)
    can_be_told = len(held_out) >= MIN_CELLS_TO_JUDGE
    if can_be_told and gain_of_both <= gain_alone:
        module.co_expression.clear()
    elif by_co_expression.any():
        for parameter in module.dae.decoder.genes.parameters():
            parameter.mul_(_DAE_BESIDE_CO_EXPRESSION)
    module.start_others()
    return not can_be_told or max(gain_of_both, gain_alone) > module.noise.min_gain


def _gain(
    module: SCDTLModule, log_ratios: torch.Tensor, log_mean: torch.Tensor, held_out: torch.Tensor
) -> float:
    """Share of the loss by which a prediction beats the mean profile.

    One factor for all log-ratios is fitted on one half of the cells; the other half tells.
    """
    ratios = log_ratios, log_mean, held_out
    gain = total = 0.0
    for fold in (0, 1):
        fitted, judged = slice(fold, None, 2), slice(1 - fold, None, 2)
        scale = module.noise.best_scale(*(part[fitted] for part in ratios))
        of_half, *others = (part[judged] for part in ratios)
        gained, over = module.noise.gain(scale * of_half, *others)
        gain, total = gain + float(gained), total + float(over)
    return gain / max(total, 1e-12)


def _scores_of_all(
    module: SCDTLModule, split: HeldOutSplitter
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Scores of whole cells, and their counts."""
    for minibatch in split.calibration_dataloader():
        kept, held_out, batch = on_device(module, minibatch)
        counts = kept + held_out
        yield module.predicted(counts, batch), counts
