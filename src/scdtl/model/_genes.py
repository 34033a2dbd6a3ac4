"""Compares the genes of a query with those of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def check_genes(adata: AnnData, trained_on: np.ndarray) -> None:
    """Refuse data whose genes differ from a model's, or are in another order."""
    if not np.array_equal(np.asarray(adata.var_names, dtype=str), trained_on.astype(str)):
        raise ValueError(
            "The genes of adata differ from those that the model was trained on, or are in "
            "another order. Reorder them first: adata[:, model.get_var_names()].copy() (to load a "
            "model, load it with adata=False for these names)."
        )


def columns_of(gene_list: Sequence[str] | None, trained_on: np.ndarray) -> np.ndarray:
    """Positions of the genes asked for among those of a model; ``None`` asks for all."""
    names = pd.Index(trained_on)
    if gene_list is None:
        return np.arange(len(names))
    if isinstance(gene_list, str):
        raise TypeError(f"gene_list must be a list of names: write gene_list=[{gene_list!r}].")
    columns = names.get_indexer(list(gene_list))
    if (columns < 0).any():
        unknown = [g for g, c in zip(gene_list, columns, strict=True) if c < 0]
        raise ValueError(f"Genes unknown to the model: {', '.join(map(str, unknown[:5]))}.")
    return columns
