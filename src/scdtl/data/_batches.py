"""Batches of cells: one way from a column of obs to names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_batches(column: Any, batch_key: str) -> None:
    """Refuse a column in which cells have no batch."""
    n_missing = int(pd.isna(np.asarray(column, dtype=object)).sum())
    if n_missing:
        raise ValueError(
            f"adata.obs[{batch_key!r}] has no batch (NaN) for {n_missing} of {len(column)} cells: "
            "give every cell a batch, or drop those cells."
        )


def batch_names(values: Any) -> list[str]:
    """Names of batches, be they numbers, booleans, dates or texts."""
    return [str(value) for value in pd.Series(values)]


def plain_batches(values: Any) -> list[bool | int | float | str]:
    """Batches as JSON knows them: what is neither number nor boolean by name."""
    return [x if isinstance(x, bool | int | float) else str(x) for x in pd.Index(values).tolist()]


def named_batches(column: Any) -> pd.Categorical:
    """The batch of each cell by name."""
    values = pd.Series(np.asarray(column) if not isinstance(column, pd.Series) else column)
    of_cells = values.astype("category").cat
    return pd.Categorical(np.array(batch_names(of_cells.categories), dtype=object)[of_cells.codes])


def batch_codes(column: Any, batch_key: str, known: Sequence[str]) -> np.ndarray:
    """The code of each cell's batch among those that a model knows; refuse any other."""
    check_batches(column, batch_key)
    batches = named_batches(column)
    unknown = [name for name in batches.categories if name not in known]
    if unknown:
        raise ValueError(
            f"adata.obs[{batch_key!r}] has batches that the model was not trained on "
            f"({', '.join(unknown)}). Give these cells the name of the most similar known batch "
            f"({', '.join(known)}), or train on all batches together."
        )
    codes = {name: code for code, name in enumerate(known)}
    return np.array([codes[name] for name in batches.categories], dtype=np.int64)[batches.codes]
