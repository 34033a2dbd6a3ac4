"""From network outputs to imputed values on the scale that the user asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from scdtl.module._dae import CP10K
from scdtl.module._posterior import expected_log1p, posterior_mean, posterior_std

if TYPE_CHECKING:
    import numpy as np

    from scdtl.module._scdtl import SCDTLModule

Scale = Literal["log1p", "normalized", "counts", "expected_log1p"]

_MIN_DISPERSION = 1e-3


def on_scale(
    module: SCDTLModule,
    counts: torch.Tensor,
    batch: torch.Tensor,
    inferred: dict[str, torch.Tensor],
    scale: Scale,
    library_size: np.ndarray | None,
    target_batch: int | None,
    replace: Literal["all", "zeros"],
    return_std: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Posterior mean, and standard deviation if asked for, of a block of cells.

    Rows are scaled to the cell's depth, so that the posterior moves molecules between genes and
    neither adds nor loses any. A cell without counts stays zero.
    """
    depth = counts.sum(1, keepdim=True)
    logits = module.generative(batch_index=batch, **inferred)["fused"]
    mu = module.log_proportions(logits, batch).exp() * depth
    dispersion = module.dispersion
    rate = posterior_mean(mu, counts, dispersion)
    if target_batch is not None:
        as_batch = torch.full_like(batch, target_batch)
        logits = module.generative(batch_index=as_batch, **inferred)["fused"]
        transformed = module.log_proportions(logits, as_batch).exp() * depth
        rate = rate * torch.where(mu > 0, transformed / mu, 0)
    to_depth = depth / rate.sum(1, keepdim=True).clamp(min=1e-12)

    size = depth if library_size is None else torch.from_numpy(library_size).to(depth)[:, None]
    per_molecule = CP10K / depth.clamp(min=1)
    unit = {
        "counts": to_depth * size / depth.clamp(min=1),
        "expected_log1p": to_depth * size / depth.clamp(min=1),
        "normalized": to_depth * per_molecule,
        "log1p": to_depth * per_molecule,
    }[scale]
    value = rate * unit
    observed = counts if scale == "counts" else counts * per_molecule
    std = posterior_std(mu, counts, dispersion) * unit if return_std else None
    if scale == "log1p":
        std = None if std is None else std / (1 + value)
        value, observed = torch.log1p(value), torch.log1p(observed)
    elif scale == "expected_log1p":
        shape = 1 / dispersion.clamp(min=_MIN_DISPERSION) + counts
        value = expected_log1p(value, shape, CP10K / size.clamp(min=1))
        observed = torch.log1p(observed)
    if replace == "zeros":
        value = torch.where(counts > 0, observed, value)
    return value, std
