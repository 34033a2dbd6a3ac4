"""The multinomial loss of held-out molecules, with its gradient in closed form."""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

_LOG_ZERO = -1e4


class _MultinomialNLL(torch.autograd.Function):
    """Softmax once forward; backward is ``total * proportions - target``, one pass."""

    @staticmethod
    def forward(ctx, logits, log_mean, target):  # type: ignore[no-untyped-def]
        scores = logits + log_mean
        # A gene that is absent has no molecules; the floor keeps 0 * -inf from being NaN.
        log_proportions = torch.log_softmax(scores, dim=1).clamp_(min=_LOG_ZERO)
        total = target.sum(1, keepdim=True)
        loss = -(target * log_proportions).sum(1)
        ctx.save_for_backward(log_proportions, target, total)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_loss):  # type: ignore[no-untyped-def]
        log_proportions, target, total = ctx.saved_tensors
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
        Log of the mean profile, genes; ``-inf`` where a gene is absent.
    target
        Molecules (or proportions) to predict, cells × genes.

    Returns
    -------
    One value per cell, in nats.
    """
    return _MultinomialNLL.apply(logits, log_mean, target)
