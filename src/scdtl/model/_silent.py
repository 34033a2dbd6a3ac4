"""Silent genes: the rate below which an entry is zero, by the share of molecules lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_CELLS = 2_000

_LOWEST, _HIGHEST, _N_BINS = -7.0, 9.0, 256  # of the natural logarithm of counts per 10,000


def cut_offs(
    blocks: Iterable[tuple[torch.Tensor, torch.Tensor]], false_zero_rate: float
) -> torch.Tensor:
    """For each gene the rate (per 10,000) below which unobserved entries become zero.

    The entries of a gene that were not observed are sorted by their rate; the lowest are given
    up as long as they hold at most ``false_zero_rate`` of the molecules that are expected of the
    gene in all cells. A gene that is silent in some cells and not in others loses the former;
    one that is alike in all cells loses those of its entries where it is expected least.

    The blocks are observed counts and imputed rates (per 10,000). The cut-offs are edges of a
    fine histogram of the rates' logarithm, rounded down, so that memory does not grow with the
    number of cells.
    """
    unobserved, total = torch.zeros((), dtype=torch.float64), torch.zeros(())
    for counts, per_10k in blocks:
        n_genes = counts.shape[1]
        expected = (per_10k * counts.sum(1, keepdim=True)).double()
        position = (per_10k.log() - _LOWEST) * (_N_BINS / (_HIGHEST - _LOWEST))
        bins = position.clamp(0, _N_BINS - 1).long()
        bins += _N_BINS * torch.arange(n_genes, device=bins.device)
        unobserved = unobserved + torch.bincount(
            bins.ravel(), (expected * (counts == 0)).ravel(), minlength=n_genes * _N_BINS
        )
        total = total + expected.sum(0)
    lost = unobserved.view(-1, _N_BINS).cumsum(1)
    n_bins = (lost <= false_zero_rate * total[:, None]).sum(1)
    edges = torch.exp(_LOWEST + n_bins * ((_HIGHEST - _LOWEST) / _N_BINS))
    return torch.where(n_bins > 0, edges, 0).float()
