"""From network outputs to imputed values on the scale that the user asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
import torch

from scdtl.module._dae import CP10K

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scdtl.module._scdtl import SCDTLModule

Scale = Literal["log1p", "normalized", "counts", "expected_log1p"]
Replace = Literal["all", "zeros", "trusted", "dropouts"]
_PER_10K = ("log1p", "normalized")


class Imputed(NamedTuple):
    """A block of cells × genes: imputed and observed values, standard deviation, rates."""

    value: torch.Tensor
    observed: torch.Tensor
    # What costs time, and is seldom asked for: standard deviation; probability of a zero that the
    # gene is expressed, with the value if it is.
    std: Callable[[], torch.Tensor]
    dropout: Callable[[], tuple[torch.Tensor, torch.Tensor]]
    per_10k: torch.Tensor


def check_scale(
    scale: str,
    replace: str,
    library_size: float | Sequence[float] | None,
    return_std: bool,
    false_zero_rate: float | None,
    n_cells: int,
    dropout_threshold: float = 0.5,
) -> np.ndarray | None:
    """Refuse options that contradict each other; return the library size per cell."""
    if scale not in get_args(Scale):
        known = ", ".join(map(repr, get_args(Scale)))
        raise ValueError(f"scale={scale!r} is unknown: choose one of {known}.")
    if replace not in get_args(Replace):
        known = ", ".join(map(repr, get_args(Replace)))
        raise ValueError(f"replace={replace!r} is unknown: choose one of {known}.")
    if false_zero_rate is not None and not 0 < false_zero_rate < 1:
        raise ValueError(
            f"false_zero_rate must lie between 0 and 1, as 0.05; got {false_zero_rate!r}."
        )
    if not 0 <= dropout_threshold <= 1:
        raise ValueError(
            f"dropout_threshold must lie between 0 and 1, as 0.5; got {dropout_threshold!r}."
        )
    if replace == "dropouts" and false_zero_rate is not None:
        raise ValueError(
            "replace='dropouts' already decides which zeros stay: leave false_zero_rate at None."
        )
    if return_std and scale == "expected_log1p":
        raise ValueError(
            "scale='expected_log1p' averages over the posterior; its standard deviation is given "
            "on the other scales."
        )
    if library_size is None:
        return None
    if replace != "all":
        raise ValueError(
            f"replace={replace!r} keeps observed values, which have their own library size: "
            "leave library_size at None."
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
    scale: Scale,
    library_size: np.ndarray | None = None,
    target_batch: int | None = None,
    own_counts: bool = True,
) -> Imputed:
    """Posterior mean and standard deviation of a block of cells.

    Rows are scaled to the library size, so that the posterior moves molecules between genes and
    neither adds nor loses any. A cell without counts stays zero.
    """
    noise, own_size = module.noise, counts.sum(1, keepdim=True)
    log_mean = module.batch_log_mean(batch)
    scores = module.predicted(counts, batch, own_counts=own_counts)
    known = noise.posterior if own_counts else noise.prior
    posterior = known(scores, log_mean, counts)
    rate = posterior.mean
    batch_ratio = torch.ones(())
    if target_batch is not None:
        as_batch = torch.full_like(batch, target_batch)
        transformed = module.predicted(counts, batch, as_batch, own_counts)
        mu, as_mu = (noise.prior_mean(s, own_size) for s in (scores, transformed))
        batch_ratio = torch.where(mu > 0, as_mu / mu, 0)
        rate = rate * batch_ratio
    to_own_size = torch.ones_like(own_size)
    if noise.keeps_library_size:
        to_own_size = own_size / rate.sum(1, keepdim=True).clamp(min=1e-12)

    size = own_size
    if library_size is not None:
        size = torch.from_numpy(library_size).to(own_size)[:, None]
    per_molecule = CP10K / own_size.clamp(min=1)
    per_10k = rate * (to_own_size * per_molecule)
    as_counts = to_own_size * size / own_size.clamp(min=1)
    unit = to_own_size * per_molecule if scale in _PER_10K else as_counts

    def scaled(linear: torch.Tensor) -> torch.Tensor:
        if scale == "log1p":
            return torch.log1p(linear)
        if scale == "expected_log1p":
            return posterior.expected_log1p(linear, CP10K / size.clamp(min=1))
        return linear

    linear = per_10k if scale in _PER_10K else rate * unit
    observed = counts * per_molecule if scale in _PER_10K or scale == "expected_log1p" else counts
    if scale in ("log1p", "expected_log1p"):
        observed = torch.log1p(observed)

    def std() -> torch.Tensor:
        linear_std = posterior.std() * batch_ratio * unit
        return linear_std / (1 + linear) if scale == "log1p" else linear_std

    def dropout() -> tuple[torch.Tensor, torch.Tensor]:
        probability, if_expressed = posterior.dropout(counts)
        return probability, scaled(if_expressed * unit)

    return Imputed(scaled(linear), observed, std, dropout, per_10k)
