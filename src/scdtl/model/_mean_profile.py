"""The mean profile: what every prediction is relative to."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch

from scdtl.model._bulk_samples import shared_genes
from scdtl.noise._multinomial import LOG_ZERO

if TYPE_CHECKING:
    from scdtl.module._scdtl import SCDTLModule

_FLOOR = 1e-8


def log_mean_of_samples(expression: np.ndarray) -> torch.Tensor:
    """Log of the mean proportion of each gene over the bulk samples that measured it.

    Parameters
    ----------
    expression
        Samples × genes on a linear scale; NaN where a gene was not measured.
    """
    shared = shared_genes(expression)
    proportions = expression / np.nansum(expression, axis=1, keepdims=True, where=shared)
    n_measured = np.maximum((~np.isnan(proportions)).sum(0), 1)
    mean = np.nansum(proportions, axis=0) / n_measured
    return torch.from_numpy(np.log(mean / mean.sum() + _FLOOR).astype(np.float32))


def masked_log_mean(module: SCDTLModule, measured: np.ndarray) -> SCDTLModule:
    """A copy of a network that leaves some genes out of its input and of its prediction.

    An absent gene has a mean of 0: its deviation from it is 0, and so is its proportion.

    Parameters
    ----------
    module
        Trained network.
    measured
        For each gene of the network whether it is kept.
    """
    masked = copy.deepcopy(module)
    absent = torch.from_numpy(~measured).to(module.device)
    kept = module.log_mean.masked_fill(absent, LOG_ZERO)
    share = kept.logsumexp(1, keepdim=True) - module.log_mean.logsumexp(1, keepdim=True)
    masked.log_mean.copy_((kept - share).masked_fill(absent, LOG_ZERO))
    return masked
