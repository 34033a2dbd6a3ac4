"""The multinomial loss of molecules, with its gradient in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOG_ZERO = -1e4
"""Log proportion of an absent gene: its exponential is 0, and 0 molecules times it is 0."""


def log_or_zero(profiles: NDArray[np.float64]) -> torch.Tensor:
    """Log of proportions; ``LOG_ZERO`` where there are none."""
    log_profiles = np.log(np.where(profiles > 0, profiles, 1))
    return torch.from_numpy(np.where(profiles > 0, log_profiles, LOG_ZERO).astype(np.float32))


class _MultinomialNLL(torch.autograd.Function):
    """Softmax once forward; backward is ``total * proportions - target``, in place."""

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, log_mean: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        log_proportions = torch.log_softmax(logits + log_mean, dim=1)
        ctx.save_for_backward(log_proportions, target)
        return -(target * log_proportions).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        log_proportions, target = ctx.saved_tensors
        total = target.sum(1, keepdim=True)
        gradient = log_proportions.exp().mul_(total).sub_(target)
        return gradient.mul_(grad_loss.unsqueeze(1)), None, None


def multinomial_nll(
    logits: torch.Tensor, log_mean: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    """Negative log-likelihood of molecules under ``softmax(log_mean + logits)``.

    The multinomial coefficient, a constant, is left out.

    Parameters
    ----------
    logits
        Log-ratios to the mean profile, cells × genes.
    log_mean
        Log of the mean profile, genes or cells × genes; ``LOG_ZERO`` where a gene is absent.
    target
        Molecules (or proportions) to predict, cells × genes.

    Returns
    -------
    One value per cell, in nats.
    """
    return _MultinomialNLL.apply(logits, log_mean, target)
