"""The cells to impute, the sample of them used for training, and the model."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scdtl._compat import forget_anndata
from scdtl.data._counts import read_sample
from scdtl.model import SCDTL
from scdtl.model._sample import sampler
from scdtl.model._transfer import architecture_of, matches_of
from scdtl.noise import NOISE_MODELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dask.array

    from scdtl.data._noise_of import NoiseName
    from scdtl.pp._store import Store
    from scdtl.pretrained import BulkWeights


@dataclass(frozen=True)
class Cells:
    """Cells and what is known about them.

    Parameters
    ----------
    counts
        Counts, cells × genes: in memory, or blocks that are read when they are computed.
    batches
        Batch of each cell.
    names, genes
        Names of cells and genes.
    layer, batch_key
        As in :func:`scdtl.pp.impute`.
    noise
        Name of the noise model.
    totals
        Where these are a sample, the noise model's sums over all cells.
    """

    counts: sparse.csr_matrix | dask.array.Array
    batches: pd.Categorical
    names: pd.Index
    genes: pd.Index
    layer: str | None
    batch_key: str | None
    noise: NoiseName
    totals: np.ndarray | None = None

    @property
    def batch_index(self) -> np.ndarray:
        """Code of each cell's batch."""
        return self.batches.codes.astype(np.int64)

    def for_training(self, weights: BulkWeights | None, n_cells: int) -> Cells:
        """Those that a model looks at, in memory."""
        if sparse.issparse(self.counts):
            return self
        if len(self.names) <= n_cells:
            return replace(self, counts=self.counts.compute())
        n_batch = len(self.batches.categories)
        pick = sampler(list(self.genes), weights, n_batch, n_cells)
        noise = NOISE_MODELS[self.noise]
        rows, counts, totals = read_sample(
            self.counts,
            self.batch_index,
            n_batch,
            pick,
            lambda counts, *batches: noise.totals(noise.prepared(counts), *batches),
        )
        return replace(
            self,
            counts=counts,
            batches=self.batches[rows],
            names=self.names[rows],
            totals=totals,
        )


def trained_model(
    cells: Cells,
    weights: BulkWeights | None,
    store: Store | None,
    model_kwargs: dict[str, Any],
    train_kwargs: dict[str, Any],
) -> SCDTL:
    """Train a model, or load the one that an earlier call has left in the store."""
    with _registered(cells) as adata:
        if store is not None and store.is_resumed:
            model = SCDTL.load(str(store.model), adata, accelerator=train_kwargs["accelerator"])
            model._totals_on_disk = cells.totals
            return model
        with store.new() if store is not None else nullcontext():
            architecture = {} if weights is None else architecture_of(weights)
            model = SCDTL(adata, None, **architecture, **model_kwargs)
            model._totals_on_disk = cells.totals
            if weights is not None:
                model._transfer(weights, matches_of(weights, cells.genes))
            model.train(**train_kwargs)
            if store is not None:
                model.save(str(store.model))
    return model


@contextmanager
def _registered(cells: Cells) -> Iterator[AnnData]:
    """An AnnData of counts and batch alone, set up as the user's would be."""
    layer, counts = cells.layer, cells.counts
    adata = AnnData(
        counts if layer is None else None,
        var=pd.DataFrame(index=cells.genes),
        layers={} if layer is None else {layer: counts},
    )
    adata.obs_names = cells.names  # and not above, where anndata minds repeated ones
    if cells.batch_key is not None:
        adata.obs[cells.batch_key] = cells.batches
    SCDTL.setup_anndata(adata, layer=layer, batch_key=cells.batch_key, noise=cells.noise)
    try:
        yield adata
    finally:
        forget_anndata(SCDTL, adata)
