"""Tools: evaluation of the imputation on your own data, and tests of the counts."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scdtl.tl._evaluate import evaluate
    from scdtl.tl._evaluation import Evaluation
    from scdtl.tl._rank_genes_groups import rank_genes_groups

__all__ = ["Evaluation", "evaluate", "rank_genes_groups"]


def __getattr__(name: str) -> Any:
    # As in scdtl: the command line's help asks `peers` for names, and must not wait for the rest.
    if name in __all__:
        return getattr(importlib.import_module(f"scdtl.tl._{name.lower()}"), name)
    raise AttributeError(f"module 'scdtl.tl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
