"""From network outputs to imputed values on the scale that the user asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from scdtl.module._dae import CP10K
from scdtl.module._posterior import expected_log1p, posterior_mean, posterior_std

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scdtl.module._scdtl import SCDTLModule

Scale = Literal["log1p", "normalized", "counts", "expected_log1p"]

_MIN_DISPERSION = 1e-3


def check_scale(
    scale: str,
    replace: str,
    library_size: float | Sequence[float] | None,
    return_std: bool,
    n_cells: int,
) -> np.ndarray | None:
    """Refuse options that contradict each other; return the library size per cell.

    Parameters
    ----------
    scale, replace, library_size, return_std
        As in :meth:`scdtl.SCDTL.get_imputed_expression`.
    n_cells
        Number of cells that are asked for.
    """
    if scale not in get_args(Scale):
        known = ", ".join(map(repr, get_args(Scale)))
        raise ValueError(f"scale={scale!r} is unknown: choose one of {known}.")
    if replace not in ("all", "zeros"):
        raise ValueError(f"replace={replace!r} is unknown: choose 'all' or 'zeros'.")
    if return_std and scale == "expected_log1p":
        raise ValueError(
            "scale='expected_log1p' averages over the posterior; its standard deviation is given "
            "on the other scales."
        )
    if library_size is None:
        return None
    if replace == "zeros":
        raise ValueError(
            "replace='zeros' keeps observed values, which have their own library size: leave "
            "library_size at None."
        )
    if scale not in ("counts", "expected_log1p"):
        raise ValueError(
            f"library_size has no meaning for scale={scale!r}, which is per 10,000 counts; use "
            "scale='counts' or 'expected_log1p'."
        )
    sizes = np.asarray(library_size, dtype=np.float32)
    if sizes.ndim and sizes.shape != (n_cells,):
        raise ValueError(f"library_size has shape {sizes.shape}; give a number or one per cell.")
    if not (np.isfinite(sizes).all() and (sizes >= 0).all()):
        raise ValueError("library_size must be finite and not negative.")
    return np.broadcast_to(sizes, (n_cells,)).copy()


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
