"""The only file that depends on versions of other packages and works around their quirks."""

from __future__ import annotations

import logging
import os
import warnings
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities import rank_zero_only
from scvi.model._utils import parse_device_args

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from scvi.model.base import BaseModelClass

_LIGHTNING_LOGGERS = (
    "lightning.pytorch",
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric",
)
_rank_keeper: Any = rank_zero_only  # the rank is an attribute of this function

if hasattr(os, "register_at_fork"):
    # Threads of OpenMP do not survive a fork: a child that waits for them waits for ever.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's device report, adverts and hints; restore everything afterwards."""
    loggers = [logging.getLogger(name) for name in _LIGHTNING_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The number of training batches")
            warnings.filterwarnings("ignore", message=".*does not have many workers")
            warnings.filterwarnings("ignore", message="Your `IterableDataset` has `__len__`")
            warnings.filterwarnings("ignore", message="Total length of `list` across ranks")
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.")
            warnings.filterwarnings("ignore", message="`accelerator` has been automatically set")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def one_process() -> Iterator[list[Any]]:
    """Train in this process only, whatever SLURM or MPI say; yield plugins for the trainer.

    Lightning treats each task of a job as part of one training, refuses some jobs, and logs in the
    first task only.
    """
    rank, job_name = _rank_keeper.rank, os.environ.get("SLURM_JOB_NAME")
    _rank_keeper.rank = 0
    if job_name is not None:
        os.environ["SLURM_JOB_NAME"] = "interactive"  # Lightning's own way to be left in peace
    try:
        yield [LightningEnvironment()]
    finally:
        _rank_keeper.rank = rank
        if job_name is not None:
            os.environ["SLURM_JOB_NAME"] = job_name


def check_one_device(devices: Any, strategy: Any) -> None:
    """Refuse several devices for training, and say how to use several for imputation."""
    n_devices = len(devices) if isinstance(devices, list | tuple) else str(devices).strip()
    if n_devices not in (1, "1", "auto") or strategy not in (None, "auto"):
        raise ValueError(
            "Training takes one device: it is a few hundred minibatches, whatever the number of "
            "cells. Leave devices and strategy at 'auto'. Imputation is spread over several "
            "workers by dask: see impute(out=...) with a dask.distributed client."
        )


def device_of(accelerator: str, devices: Any) -> torch.device:
    """The one device that Lightning's arguments mean; on "auto" a CUDA GPU if there is one."""
    with quiet_lightning(), one_process():
        *_, device = parse_device_args(
            accelerator, devices, return_device="torch", validate_single_device=True
        )
    if device.type == "mps":
        raise ValueError(
            "Apple's GPUs have no double precision, which scdtl needs. Leave accelerator at "
            "'auto', which takes the CPU there."
        )
    return device


@contextmanager
def repeatable_convolutions() -> Iterator[None]:
    """On a GPU, let gradients of convolutions add up in the same order each time."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def fast_precision(device: torch.device, trainer_kwargs: dict[str, Any]) -> dict[str, str]:
    """Argument of the trainer for half precision, on CPUs that compute in bfloat16; else nothing.

    On other CPUs it is slower; on GPUs, which such small networks do not fill, no faster.
    Plugins may set their own, and with a fused optimiser Lightning clips no gradients in it.
    """
    tells = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # since PyTorch 2.6
    is_fast = device.type == "cpu" and tells is not None and tells()
    is_free = not {"plugins", "gradient_clip_val"} & trainer_kwargs.keys()
    return {"precision": "bf16-mixed"} if is_fast and is_free else {}


def layer_names(adata: AnnData) -> list[str]:
    """Names of the layers; since anndata 0.13 ``None`` is among the keys, for ``X``."""
    return [name for name in adata.layers if name is not None]


def forget_anndata(model_class: type[BaseModelClass], adata: AnnData) -> None:
    """Drop the reference to data that were set up, which scvi-tools never frees (its #2053)."""
    model_class._setup_adata_manager_store.pop(adata.uns.get("_scvi_uuid"), None)


def forget_data_with(model: BaseModelClass) -> None:
    """Let a model's data go when the model goes, which scvi-tools would keep."""
    weakref.finalize(model, type(model)._per_instance_manager_store.pop, model.id, None)
