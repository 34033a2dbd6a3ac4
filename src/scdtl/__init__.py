"""scdtl: imputation of single-cell RNA-seq by deep transfer learning from bulk RNA-seq."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from scdtl._settings import settings

if TYPE_CHECKING:
    from scdtl import datasets, metrics, pl, pp, pretrained, tl
    from scdtl.model import SCDTL, BulkDAE

__version__ = version("scdtl")

__all__ = ["SCDTL", "BulkDAE", "datasets", "metrics", "pl", "pp", "pretrained", "settings", "tl"]

_CLASSES = ("SCDTL", "BulkDAE")


def __getattr__(name: str) -> Any:
    # Names are imported on first use (PEP 562): `import scdtl` must not wait for scvi-tools.
    if name in _CLASSES:
        return getattr(importlib.import_module("scdtl.model"), name)
    if name in __all__:
        return importlib.import_module(f"scdtl.{name}")
    raise AttributeError(f"module 'scdtl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
