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
from scdtl._constants import SAMPLE_KEY
from scdtl._random import next_seed
from scdtl.data._batches import named_batches
from scdtl.data._cell_order import sampled_cells
from scdtl.data._counts import read_sample
from scdtl.data._gene_order import cells_for_order, gene_keys
from scdtl.model import SCDTL
from scdtl.model._transfer import architecture_of, keys_in_bulk, matches_of
from scdtl.noise import NOISE_MODELS
from scdtl.pp._layers import rows_per_block
from scdtl.pp._store import in_pandas

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dask.array

    from scdtl.data._counts import CountMatrix
    from scdtl.data._noise_of import NoiseName, Recognised
    from scdtl.pp._store import Store
    from scdtl.pretrained import BulkWeights


@dataclass(frozen=True)
class Cells:
    """Cells and what is known about them."""

    counts: sparse.csr_matrix | dask.array.Array  # in memory, or blocks that are read when needed
    batches: pd.Categorical
    names: pd.Index
    genes: pd.Index
    layer: str | None
    batch_key: str | None
    noise: NoiseName
    sample: dict[str, Any] | None = None  # of a sample its seed, and the sums over all cells

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
        n_batch, noise, seed = len(self.batches.categories), NOISE_MODELS[self.noise], next_seed()
        names = list(self.genes)
        keys = gene_keys(names)
        if weights is not None:
            keys = keys_in_bulk(weights, names, matches_of(weights, names))

        def pick(counts: sparse.csr_matrix, batch_index: np.ndarray) -> np.ndarray:
            trained = sampled_cells(counts, batch_index, keys, seed, n_cells, n_batch)
            return np.union1d(trained, cells_for_order(counts, batch_index, keys))

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
            sample={"seed": seed, "totals": totals},
        )


def read_cells(
    adata: AnnData,
    found: CountMatrix,
    is_gene: np.ndarray,
    layer: str | None,
    batch_key: str | None,
    batch_size: int,
) -> tuple[Cells, Recognised]:
    """The cells whose counts were found, and what their counts are."""
    found, recognised = found.resolved()
    genes = adata.var_names[is_gene]
    counts = found.read(rows_per_block(len(genes), batch_size))
    batches: Any = pd.Categorical(np.zeros(adata.n_obs, dtype=np.int8))
    if batch_key is not None:
        batches = named_batches(in_pandas(adata.obs)[batch_key])
    names = adata.obs_names
    cells = Cells(counts, batches, names, genes, layer, batch_key, recognised.noise)
    return cells, recognised


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
            on = {"accelerator": train_kwargs["accelerator"], "device": train_kwargs["devices"]}
            return SCDTL.load(str(store.model), adata, **on)
        with store.new() if store is not None else nullcontext():
            architecture = {} if weights is None else architecture_of(weights)
            model = SCDTL(adata, None, **architecture, **model_kwargs)
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
        uns={} if cells.sample is None else {SAMPLE_KEY: cells.sample},
    )
    adata.obs_names = cells.names  # and not above, where anndata minds repeated ones
    if cells.batch_key is not None:
        adata.obs[cells.batch_key] = cells.batches
    SCDTL._register(adata, layer, cells.batch_key, cells.noise)
    try:
        yield adata
    finally:
        forget_anndata(SCDTL, adata)
