"""The only file that knows the versions of other packages, and their traps."""

from __future__ import annotations

import logging
import tempfile
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only

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
            # That of scvi-tools; ours is a callback and works.
            warnings.filterwarnings("ignore", message="early_stopping was automatically disabled")
            # For one process of several that trains on its own.
            warnings.filterwarnings("ignore", message="It is recommended to use `self.log")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def processes(devices: Any, trainer_kwargs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Prepare training in one process or in several; yield what the trainer needs to know.

    Parameters
    ----------
    devices, trainer_kwargs
        As given to ``train``.
    """
    if trainer_kwargs.get("strategy") or devices not in ("auto", 1):
        # scvi-tools writes the history to a folder, by default into the working directory, and
        # reads it where training processes were forked. Lightning would replace our samplers.
        with tempfile.TemporaryDirectory(prefix="scdtl-") as folder:
            yield {"log_save_dir": folder, "use_distributed_sampler": False}
        return
    # One of several processes that trains on its own must log, and scvi-tools reads that log.
    rank = _rank_keeper.rank
    _rank_keeper.rank = 0
    try:
        yield {"enable_progress_bar": False} if rank else {}
    finally:
        _rank_keeper.rank = rank


def starts_script_again(trainer: Any) -> bool:
    """Whether further processes are to be started by the script that this one runs.

    Parameters
    ----------
    trainer
        Lightning's trainer.
    """
    launcher = trainer.strategy.launcher
    return (
        isinstance(launcher, _SubprocessScriptLauncher)
        and not launcher.cluster_environment.creates_processes_externally
        and launcher.num_processes > 1
    )


def is_first_process() -> bool:
    """Whether this process is alone, or the one of several that speaks."""
    return not _rank_keeper.rank


def layer_names(adata: AnnData) -> list[str]:
    """Names of the layers; since anndata 0.13 ``None`` is among the keys, for ``X``.

    Parameters
    ----------
    adata
        Any AnnData.
    """
    return [name for name in adata.layers if name is not None]


def forget_anndata(model_class: type[BaseModelClass], adata: AnnData) -> None:
    """Drop scvi-tools' own references to registered data, which it never frees (its #2053)."""
    uuid = adata.uns.get("_scvi_uuid")
    model_class._setup_adata_manager_store.pop(uuid, None)
    for managers in model_class._per_instance_manager_store.values():
        managers.pop(uuid, None)
