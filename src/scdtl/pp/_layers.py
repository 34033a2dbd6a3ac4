"""Layers of imputed values: in memory, or as dask arrays whose blocks are imputed in turn."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from tqdm.auto import tqdm

from scdtl.data._counts import in_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import dask.array

    from scdtl.model import SCDTL
    from scdtl.model._predict import Predictor
    from scdtl.pp._training import Cells

_ENTRIES_PER_BLOCK = 1 << 22
_BLOCKS_PER_THREAD = 4


@dataclass(frozen=True)
class Prediction:
    """A network's predictions for all cells."""

    predictor: Predictor
    cells: Cells
    library_size: np.ndarray | None  # of the result per cell; None for the cell's own
    n_features: int  # columns of the layers
    layers: dict[str, bool]  # endings of the layers' names; whether they are sparse

    def in_memory(self, verbose: bool) -> tuple[list[Any], np.ndarray]:
        """Layers and latent."""
        counts, batch_index = self.cells.counts, self.cells.batch_index
        layers = self.predictor.expression(counts, batch_index, self.library_size, verbose)
        return layers, self.predictor.latent(counts, batch_index)

    def on_access(self, verbose: bool) -> tuple[list[Any], np.ndarray]:
        """Layers that are computed when they are looked at, and the latent, which is there."""
        _, latents = self.in_blocks()
        done = in_turn(list(latents.to_delayed().ravel()), verbose=verbose)
        latent = np.concatenate([block for _, blocks in done for block in blocks])
        imputed, _ = self.in_blocks(outlives_client=True)
        layers = [
            imputed.map_blocks(
                list.__getitem__,
                part,
                dtype=np.float32,
                meta=sparse.csr_matrix((0, 0), dtype=np.float32)
                if is_sparse
                else np.empty((0, 0), dtype=np.float32),
            )
            for part, is_sparse in enumerate(self.layers.values())
        ]
        return layers, latent

    def in_blocks(
        self, outlives_client: bool = False
    ) -> tuple[dask.array.Array, dask.array.Array]:
        """Layers, a list of them in each block, and latent: of blocks of cells, not computed yet.

        If it `outlives_client`, they can be computed when the model has been trained further and
        the client of ``dask.distributed`` is gone.
        """
        import dask
        import dask.array as da

        cells, predictor = self.cells, self.predictor
        counts = cells.counts
        if sparse.issparse(counts):
            n_rows = rows_per_block(len(cells.genes), predictor.batch_size)
            counts = in_blocks(counts, n_rows)
        per_cell = [x for x in (cells.batch_index, self.library_size) if x is not None]
        arrays = [da.from_array(x[:, None], chunks=(counts.chunks[0], 1)) for x in per_cell]
        client = _client()
        if outlives_client or client is None:
            # One key of the graph, whatever the number of blocks that refer to it.
            predictor = predictor.copied() if outlives_client else predictor
            network = dask.delayed(predictor, pure=False, traverse=False)
        else:  # it travels to each worker once
            network = client.scatter(predictor, broadcast=True, hash=False)
        layers = da.map_blocks(
            _layers_of_block,
            counts,
            *arrays,
            predictor=network,
            chunks=(counts.chunks[0], (self.n_features,)),
            meta=np.empty((0, 0), dtype=object),
        )
        latent = da.map_blocks(
            _latent_of_block,
            counts,
            arrays[0],
            predictor=network,
            chunks=(counts.chunks[0], (predictor.n_latent,)),
            meta=np.empty((0, 0), dtype=np.float32),
        )
        return layers, latent


def predict(
    model: SCDTL,
    cells: Cells,
    features: pd.Index,
    genes: Sequence[str] | None,
    library_size: np.ndarray | None,
    false_zero_rate: float | None,
    batch_size: int,
    **wanted: Any,
) -> Prediction:
    """What a trained model predicts of all cells, not computed yet.

    `wanted` is what :class:`~scdtl.model._predict.Predictor` takes beside; the rest is as in
    :func:`scdtl.pp.impute`.
    """
    place, n_features = None, len(features)
    if genes is not None or len(cells.genes) < n_features:
        columns = features.get_indexer(pd.Index(cells.genes if genes is None else genes))
        place = partial(
            as_layer, columns=columns, n_features=n_features, stores_columns=genes is not None
        )
    predictor = model._predictor(
        model._query(None), genes, None, false_zero_rate, batch_size, place=place, **wanted
    )
    layers = {name: genes is not None or sparse for name, sparse in predictor.layers.items()}
    return Prediction(predictor, cells, library_size, n_features, layers)


def _layers_of_block(
    counts: sparse.csr_matrix,
    batch_index: np.ndarray,
    library_size: np.ndarray | None = None,
    *,
    predictor: Predictor,
) -> list[np.ndarray | sparse.csr_matrix]:
    size = None if library_size is None else library_size.ravel()
    return predictor.expression(counts, batch_index.ravel(), size)


def _latent_of_block(
    counts: sparse.csr_matrix, batch_index: np.ndarray, *, predictor: Predictor
) -> np.ndarray:
    return predictor.latent(counts, batch_index.ravel())


def rows_per_block(n_genes: int, batch_size: int) -> int:
    """Cells of a block, in whole minibatches: enough to be worth a task of its own."""
    return batch_size * max(1, _ENTRIES_PER_BLOCK // (n_genes * batch_size))


def as_layer(
    values: np.ndarray | sparse.csr_matrix,
    columns: np.ndarray,
    n_features: int,
    stores_columns: bool,
) -> np.ndarray | sparse.csr_matrix:
    """A matrix of all features in which the values are in the columns of their genes.

    A sparse one stores these columns only.
    """
    if not (stores_columns or sparse.issparse(values)):
        layer = np.zeros((len(values), n_features), dtype=values.dtype)
        layer[:, columns] = values
        return layer
    if isinstance(values, sparse.csr_matrix):
        data, indices, indptr = values.data, columns[values.indices], values.indptr
    else:  # all entries are stored, so that a zero is told from a gene that is not there
        data, indices = values.ravel(), np.tile(columns, len(values))
        indptr = np.arange(len(values) + 1) * len(columns)
    layer = sparse.csr_matrix((data, indices, indptr), shape=(values.shape[0], n_features))
    layer.sort_indices()
    return layer


def in_turn(
    tasks: list[Any], *, n_done: int = 0, verbose: bool = False
) -> Iterator[tuple[int, list[Any]]]:
    """Compute the tasks of blocks not done before; yield how many are done, and what they gave.

    With a ``dask.distributed`` client its workers compute several at a time. Without one they are
    computed one after the other: torch has threads of its own.
    """
    import dask

    client, step = _client(), 1
    if client is not None:
        step = _BLOCKS_PER_THREAD * max(1, sum(client.nthreads().values()))
    with tqdm(
        total=len(tasks), initial=n_done, desc="Imputing", unit="block", disable=not verbose
    ) as bar:
        for first in range(n_done, len(tasks), step):
            part = tasks[first : first + step]
            results = dask.compute(*part, scheduler="synchronous" if client is None else client)
            yield first + len(part), list(results)
            bar.update(len(part))


def _client() -> Any:
    """The active client of ``dask.distributed``, if there is one."""
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        return default_client()
    except ValueError:
        return None
