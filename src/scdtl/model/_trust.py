"""Fitted on held-out data: scale of the prediction, noise, and trust in each gene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scdtl._constants import REGISTRY_KEYS
from scdtl.noise import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from scdtl.module._scdtl import SCDTLModule
    from scdtl.noise._base import Minibatch
    from scdtl.train._held_out import HeldOutSplitter

_MIN_CELLS_TO_JUDGE = 10


@torch.inference_mode()
def calibrate(module: SCDTLModule, split: HeldOutSplitter, fit_scale: bool) -> None:
    """Fit the noise, and for a network that was not trained one factor for all log-ratios."""
    if fit_scale:
        ratios = _validation_ratios(module, split)
        module.log_ratio_scale.fill_(module.noise.best_scale(*ratios))
    module.noise.fit(_scores(module, split))


@torch.inference_mode()
def score(module: SCDTLModule, split: HeldOutSplitter) -> tuple[float, np.ndarray, np.ndarray]:
    """Score a calibrated network on the held-out data of the split of training.

    Deviance explained beyond the mean profile, pooled over genes and per gene (NaN where there is
    too little to tell); and for each gene whether it is trusted.
    """
    sums = torch.zeros(6, module.log_mean.shape[1], dtype=torch.float64)
    for scores, log_mean, counts, held_out in _scores(module, split):
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


@torch.inference_mode()
def bulk_helps(module: SCDTLModule, split: HeldOutSplitter) -> bool:
    """Whether what came from bulk, before any training, predicts held-out data.

    One factor for all log-ratios is fitted on one half of the validation cells; the other half
    tells by how much the prediction beats the mean profile. Weights whose genes were shuffled
    gain up to 0.0045 nats per molecule on the data sets of the benchmark, the real ones at least
    0.0084. With fewer than 10 cells this is too uncertain, and bulk is kept.
    """
    ratios = _validation_ratios(module, split)
    if len(ratios[0]) < _MIN_CELLS_TO_JUDGE:
        return True
    gain = total = 0.0
    for fold in (0, 1):
        fitted, judged = slice(fold, None, 2), slice(1 - fold, None, 2)
        scale = module.noise.best_scale(*(part[fitted] for part in ratios))
        log_ratios, log_mean, held_out = (part[judged] for part in ratios)
        gained, over = module.noise.gain(scale * log_ratios, log_mean, held_out)
        gain, total = gain + float(gained), total + float(over)
    return gain > module.noise.min_gain * total


def _scores(module: SCDTLModule, split: HeldOutSplitter) -> Iterator[Minibatch]:
    for minibatch in split.calibration_dataloader():
        counts, held_out, batch = _on_device(module, minibatch)
        yield module.predicted(counts, batch), module.batch_log_mean(batch), counts, held_out


def _scores_of_all(
    module: SCDTLModule, split: HeldOutSplitter
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Scores of whole cells, and their counts."""
    for minibatch in split.calibration_dataloader():
        kept, held_out, batch = _on_device(module, minibatch)
        counts = kept + held_out
        yield module.predicted(counts, batch), counts


def _validation_ratios(
    module: SCDTLModule, split: HeldOutSplitter
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-ratios, log mean profile and held-out data of the validation cells."""
    parts = []
    for minibatch in split.val_dataloader():
        counts, held_out, batch = _on_device(module, minibatch)
        log_ratios = module.log_ratios(counts, batch, batch)
        log_mean = module.batch_log_mean(batch).expand_as(log_ratios)
        parts.append((log_ratios, log_mean, held_out))
    log_ratios, log_mean, held_out = (torch.cat(part) for part in zip(*parts, strict=True))
    return log_ratios, log_mean, held_out


def _on_device(
    module: SCDTLModule, minibatch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What is shown, what is held out, and the batch of each cell."""
    keys = REGISTRY_KEYS.X_KEY, REGISTRY_KEYS.TARGET_KEY, REGISTRY_KEYS.BATCH_KEY
    shown, held_out, batch = (minibatch[key].to(module.device) for key in keys)
    return shown, held_out, batch
