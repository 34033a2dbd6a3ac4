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
Replace = Literal["all", "zeros", "trusted"]


class Imputed(NamedTuple):
    """A block of cells × genes: imputed and observed values, standard deviation, rates."""

    value: torch.Tensor
    observed: torch.Tensor
    std: Callable[[], torch.Tensor]  # which costs time, and is seldom asked for
    per_10k: torch.Tensor


def check_scale(
    scale: str,
    replace: str,
    library_size: float | Sequence[float] | None,
    return_std: bool,
    false_zero_rate: float | None,
    n_cells: int,
) -> np.ndarray | None:
    """Refuse options that contradict each other; return the library size per cell.

    Parameters
    ----------
    scale, replace, library_size, return_std, false_zero_rate
        As in :meth:`scdtl.SCDTL.get_imputed_expression`.
    n_cells
        Number of cells that are asked for.
    """
    if not isinstance(scale, str) or scale not in get_args(Scale):
        known = ", ".join(map(repr, get_args(Scale)))
        raise ValueError(f"scale={scale!r} is unknown: choose one of {known}.")
    if replace not in get_args(Replace):
        known = ", ".join(map(repr, get_args(Replace)))
        raise ValueError(f"replace={replace!r} is unknown: choose one of {known}.")
    if false_zero_rate is not None and not (
        isinstance(false_zero_rate, int | float | np.number) and 0 < false_zero_rate < 1
    ):
        raise ValueError(
            f"false_zero_rate must lie between 0 and 1, as 0.05; got {false_zero_rate!r}."
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
) -> Imputed:
    """Posterior mean and standard deviation of a block of cells.

    Rows are scaled to the library size, so that the posterior moves molecules between genes and
    neither adds nor loses any. A cell without counts stays zero.
    """
    noise, own_size = module.noise, counts.sum(1, keepdim=True)
    inferred = module.inference(counts, batch)
    logits = module.generative(batch_index=batch, **inferred)["fused"]
    mu = noise.prior_mean(module.scores(logits, batch), own_size)
    posterior = noise.posterior(mu, counts)
    rate = posterior.mean
    batch_ratio = torch.ones(())
    if target_batch is not None:
        as_batch = torch.full_like(batch, target_batch)
        logits = module.generative(batch_index=as_batch, **inferred)["fused"]
        transformed = noise.prior_mean(module.scores(logits, as_batch), own_size)
        batch_ratio = torch.where(mu > 0, transformed / mu, 0)
        rate = rate * batch_ratio
    to_own_size = torch.ones_like(own_size)
    if noise.keeps_library_size:
        to_own_size = own_size / rate.sum(1, keepdim=True).clamp(min=1e-12)

    size = own_size
    if library_size is not None:
        size = torch.from_numpy(library_size).to(own_size)[:, None]
    per_molecule = CP10K / own_size.clamp(min=1)
    per_10k = rate * (to_own_size * per_molecule)
    if scale in ("log1p", "normalized"):
        unit, linear, observed = to_own_size * per_molecule, per_10k, counts * per_molecule
    else:
        unit = to_own_size * size / own_size.clamp(min=1)
        linear, observed = rate * unit, counts
    value = linear
    if scale == "log1p":
        value, observed = torch.log1p(linear), torch.log1p(observed)
    elif scale == "expected_log1p":
        value = posterior.expected_log1p(linear, CP10K / size.clamp(min=1))
        observed = torch.log1p(counts * per_molecule)

    def std() -> torch.Tensor:
        linear_std = posterior.std() * batch_ratio * unit
        return linear_std / (1 + linear) if scale == "log1p" else linear_std

    return Imputed(value, observed, std, per_10k)
