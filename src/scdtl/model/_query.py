"""Cells to predict, read from any AnnData without changing it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scdtl.data._batches import batch_codes
from scdtl.data._checks import check_anndata, check_has
from scdtl.data._counts import find_counts
from scdtl.data._features import genes_only
from scdtl.genes import MIN_MATCHED_FRACTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scdtl.data._noise_of import Noise
    from scdtl.module._scdtl import SCDTLModule

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Query:
    """Cells to predict."""

    counts: sparse.csr_matrix  # cells × genes of the model
    batch_index: np.ndarray
    names: pd.Index
    genes: np.ndarray  # positions among the model's genes of those that the cells have
    module: SCDTLModule  # where genes are missing, one that masks them

    def of(self, indices: Sequence[int] | np.ndarray | None) -> Query:
        """The cells asked for, by position or by a mask; ``None`` asks for all."""
        if indices is None:
            return self
        cells = np.asarray(indices)
        if cells.dtype == bool and cells.shape == (len(self.names),):
            cells = np.flatnonzero(cells)
        if cells.size and cells.dtype.kind not in "iu":
            raise ValueError("indices must be positions of cells, or a mask with one value each.")
        cells = cells.astype(int)
        return replace(
            self,
            counts=self.counts[cells],
            batch_index=self.batch_index[cells],
            names=self.names[cells],
        )


def read_cells(
    adata: AnnData,
    trained_on: np.ndarray,
    layer: str | None,
    batch_key: str | None,
    batches: Sequence[str],
    noise: Noise,
) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    """Counts of cells over the genes of a model, their batches, and which genes they have.

    Genes that the cells lack have no counts; those unknown to the model are left out, also of
    the library size.
    """
    check_anndata(adata, may_be_backed=True)
    check_has(adata, layer, [] if batch_key is None else [batch_key])
    batch_index = np.zeros(adata.n_obs, dtype=np.int64)
    if batch_key is not None:
        batch_index = batch_codes(adata.obs[batch_key], batch_key, batches)
    adata = genes_only(adata)
    names = pd.Index(trained_on.astype(str))
    position = names.get_indexer(np.asarray(adata.var_names, dtype=str))
    known = np.flatnonzero(position >= 0)
    if len(known) < MIN_MATCHED_FRACTION * len(names):
        raise ValueError(
            f"adata has {len(known)} of the {len(names)} genes that the model was trained "
            f"on: give data with the same kind of gene names, as {names[0]!r}."
        )
    if len(known) < len(position):
        logger.warning(
            "%d genes of adata are unknown to the model and left out.", len(position) - len(known)
        )
    every = np.ones(adata.n_vars, dtype=bool)
    counts = find_counts(adata, layer, every, noise).loaded().checked()
    if not np.array_equal(position, np.arange(len(names))):
        counts = counts[:, known]
        counts = sparse.csr_matrix(
            (counts.data, position[known][counts.indices], counts.indptr),
            shape=(adata.n_obs, len(names)),
        )
        counts.sort_indices()
    return counts, batch_index, position[known]
