"""Genes of a query against those that a model was trained on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scdtl.genes import MIN_MATCHED_FRACTION

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)


def check_genes(adata: AnnData, trained_on: np.ndarray) -> None:
    """Refuse data whose genes differ from a model's, or are in another order.

    Parameters
    ----------
    adata
        Data of the query.
    trained_on
        Genes of the model.
    """
    if not same_genes(adata, trained_on):
        raise ValueError(
            "The genes of adata differ from those that the model was trained on, or are in "
            "another order. Reorder them first: adata[:, model.get_var_names()].copy()."
        )


def same_genes(adata: AnnData, trained_on: np.ndarray) -> bool:
    """Whether the data have the genes of a model, in the same order.

    Parameters
    ----------
    adata
        Data of the query.
    trained_on
        Genes of the model.
    """
    return np.array_equal(np.asarray(adata.var_names, dtype=str), trained_on.astype(str))


def aligned(
    adata: AnnData, trained_on: np.ndarray, layer: str | None, obs_column: str | None
) -> tuple[AnnData, np.ndarray]:
    """Counts of a query with the genes of a model, and where the query's genes are in these.

    Genes that the query lacks have no counts; those unknown to the model are left out, also of
    the cells' depth.

    Parameters
    ----------
    adata
        Data of the query, unchanged.
    trained_on
        Genes of the model.
    layer
        Layer of the counts.
    obs_column
        Column of ``obs`` to keep.
    """
    if not adata.var_names.is_unique:
        raise ValueError("adata.var_names are not unique: call adata.var_names_make_unique().")
    if layer is not None and layer not in adata.layers:
        raise KeyError(f"the model reads layers[{layer!r}], which adata lacks.")
    if obs_column is not None and obs_column not in adata.obs:
        raise KeyError(f"the model reads obs[{obs_column!r}], which adata lacks.")
    position = pd.Index(trained_on.astype(str)).get_indexer(adata.var_names.astype(str))
    known = np.flatnonzero(position >= 0)
    if len(known) < MIN_MATCHED_FRACTION * len(trained_on):
        raise ValueError(
            f"adata has {len(known)} of the {len(trained_on)} genes that the model was trained "
            f"on: give data with the same kind of gene names, as {trained_on[0]!r}."
        )
    if len(known) < len(position):
        logger.warning(
            "%d genes of adata are unknown to the model and left out.", len(position) - len(known)
        )
    matrix = adata.X if layer is None else adata.layers[layer]
    counts = sparse.csr_matrix(matrix[:, known], dtype=np.float32)
    counts = sparse.csr_matrix(
        (counts.data, position[known][counts.indices], counts.indptr),
        shape=(adata.n_obs, len(trained_on)),
    )
    counts.sort_indices()
    obs = adata.obs[[] if obs_column is None else [obs_column]].copy()
    result = AnnData(counts, obs=obs, var=pd.DataFrame(index=trained_on))
    if layer is not None:
        result.layers[layer] = counts
    return result, position[known]


def columns_of(gene_list: Sequence[str] | None, trained_on: np.ndarray) -> np.ndarray:
    """Positions of the genes asked for among those of a model; ``None`` asks for all.

    Parameters
    ----------
    gene_list
        Genes asked for.
    trained_on
        Genes of the model.
    """
    names = pd.Index(trained_on)
    if gene_list is None:
        return np.arange(len(names))
    columns = names.get_indexer(list(gene_list))
    if (columns < 0).any():
        unknown = [g for g, c in zip(gene_list, columns, strict=True) if c < 0]
        raise ValueError(f"Genes unknown to the model: {', '.join(map(str, unknown[:5]))}.")
    return columns
