"""The only file that knows the versions of scvi-tools and Lightning, and their traps."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from scvi.model.base import BaseModelClass

_LIGHTNING_LOGGERS = (
    "lightning.pytorch",
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric",
)


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
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def forget_anndata(model_class: type[BaseModelClass], adata: AnnData) -> None:
    """Drop scvi-tools' own references to registered data, which it never frees (its #2053)."""
    uuid = adata.uns.get("_scvi_uuid")
    model_class._setup_adata_manager_store.pop(uuid, None)
    for managers in model_class._per_instance_manager_store.values():
        managers.pop(uuid, None)
