"""Cells with what is held out of them, and what the networks as they are say of them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import torch

from scdtl._constants import REGISTRY_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scdtl.module._scdtl import SCDTLModule
    from scdtl.noise._base import Minibatch

MIN_CELLS_TO_JUDGE = 10
_N_JUDGED_BLOCKS = 2  # of the split's loader, so 256 cells


class Block(NamedTuple):
    """Some of the cells.

    Attributes
    ----------
    counts, held_out
        What is shown and what is held out, cells × genes.
    batch
        Batch of each cell.
    log_mean
        Log mean profile, a row for each cell, or one for all.
    deviation
        Input of networks and co-expression.
    by_networks
        Log-ratios by the networks, without co-expression.
    """

    counts: torch.Tensor
    held_out: torch.Tensor
    batch: torch.Tensor
    log_mean: torch.Tensor
    deviation: torch.Tensor
    by_networks: torch.Tensor


class HeldOutCells:
    """Blocks of cells; the networks are asked once, for adaptation, scale, noise and scores.

    Parameters
    ----------
    module
        The module, whose networks do not change any more.
    minibatches
        From the split of training; the same ones each time they are gone through.
    """

    def __init__(self, module: SCDTLModule, minibatches: Iterable[dict[str, torch.Tensor]]):
        self.module, self.minibatches = module, minibatches
        self._by_networks: list[torch.Tensor] = []

    def __iter__(self) -> Iterator[Block]:
        for number, minibatch in enumerate(self.minibatches):
            counts, held_out, batch = on_device(self.module, minibatch)
            deviation = self.module.deviation(counts, batch)
            if number == len(self._by_networks):
                self._by_networks.append(self.module.by_networks(deviation, batch))
            log_mean = self.module.batch_log_mean(batch)
            by_networks = self._by_networks[number]
            yield Block(counts, held_out, batch, log_mean, deviation, by_networks)

    def judged(self) -> Block:
        """A few of them in one block, to judge bulk, its adaptation and the scale."""
        blocks = islice(self, _N_JUDGED_BLOCKS)
        judged = Block(*(torch.cat(part) for part in zip(*blocks, strict=True)))
        return judged._replace(log_mean=self.module.batch_log_mean(judged.batch))

    def scores(self) -> Iterator[Minibatch]:
        """Scores, log of the mean profile, what was shown, and what was held out."""
        for cells in self:
            log_ratios = cells.by_networks + self.module.co_expression(cells.deviation)
            scores = self.module.scores(log_ratios, cells.batch)
            yield scores, cells.log_mean, cells.counts, cells.held_out


def on_device(
    module: SCDTLModule, minibatch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What is shown, what is held out, and the batch of each cell."""
    keys = REGISTRY_KEYS.X_KEY, REGISTRY_KEYS.TARGET_KEY, REGISTRY_KEYS.BATCH_KEY
    shown, held_out, batch = (minibatch[key].to(module.device) for key in keys)
    return shown, held_out, batch
