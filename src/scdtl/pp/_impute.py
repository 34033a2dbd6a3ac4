"""impute(): the one call, and the only writer of results into the user's AnnData."""

from __future__ import annotations

import logging
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scdtl._compat import check_one_device, forget_anndata
from scdtl._constants import DEFAULT_BULK, DEFAULT_KEY
from scdtl._random import local_seed
from scdtl.data._batches import named_batches
from scdtl.data._checks import check_names, check_numbers
from scdtl.data._counts import in_blocks, is_in_memory, read_in_blocks, training_rows
from scdtl.data._features import is_gene, note_other_features
from scdtl.data._raw_counts import checked_counts, note_oddities
from scdtl.genes import in_words
from scdtl.model import SCDTL
from scdtl.model._bulk_weights import as_weights
from scdtl.model._scales import check_scale
from scdtl.pp._lazy import rows_per_block
from scdtl.pp._memory import check_memory
from scdtl.pp._provenance import hashes_of_call, name_of_bulk, plain, provenance, unboxed
from scdtl.pp._results import Wanted, at_once, on_access
from scdtl.pp._store import Store, in_pandas, require
from scdtl.train._molecules import MAX_TRAINING_CELLS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike
    from pathlib import Path

    from scipy import sparse

    from scdtl.model import BulkDAE
    from scdtl.model._scales import Replace, Scale
    from scdtl.pretrained import BulkWeights

logger = logging.getLogger(__name__)


def impute(
    adata: AnnData,
    *,
    layer: str | None = None,
    bulk: str | Path | BulkDAE | BulkWeights | AnnData | None = DEFAULT_BULK,
    batch_key: str | None = None,
    key_added: str = DEFAULT_KEY,
    scale: Scale = "log1p",
    library_size: float | Sequence[float] | None = None,
    replace: Replace = "all",
    false_zero_rate: float | None = None,
    genes: Sequence[str] | None = None,
    max_epochs: int | None = None,
    batch_size: int = 64,
    accelerator: str = "auto",
    devices: int | list[int] | str = "auto",
    random_state: int = 0,
    copy: bool = False,
    return_model: bool = False,
    return_std: bool = False,
    out: str | PathLike[str] | None = None,
    lazy: bool = False,
    verbose: bool | None = None,
    model_kwargs: dict[str, Any] | None = None,
    train_kwargs: dict[str, Any] | None = None,
) -> AnnData | SCDTL | tuple[AnnData, SCDTL] | None:
    """Impute raw counts with what bulk RNA-seq knows about genes.

    Trains :class:`scdtl.SCDTL`, from bulk weights unless ``bulk=None``, until molecules that
    were set aside are predicted no better, then writes the mean rate of every gene in every
    cell. All results are computed before the first is written: after an error ``adata`` is as
    it was.

    Neither the counts nor the results need fit into memory: see ``out`` and ``lazy``.

    Parameters
    ----------
    adata
        Cells × genes with raw counts (sparse or dense), gene names in ``var_names``. Features that
        are no genes by ``var["feature_types"]`` are left out and zero in the layer. With ``out``
        or ``lazy`` it may be backed by an .h5ad file, or hold dask arrays, as from
        :func:`anndata.experimental.read_lazy`: training then reads a sample of the cells, and
        the rest is read block by block.
    layer
        Layer with the raw counts; ``None`` for ``adata.X``.
    bulk
        Where the network starts: name of released weights (``scdtl.pretrained.available``;
        :func:`scdtl.pretrained.fetch` says where others than ``"human"`` come from), path of a
        weight file, a trained :class:`scdtl.BulkDAE`, own bulk samples, or ``None`` for no
        transfer. Own samples are an AnnData of samples × genes, or the path of one in
        ``.h5ad`` or ``.zarr``, as :meth:`scdtl.BulkDAE.setup_anndata` takes it; a BulkDAE is
        trained on them first, with ``obs["study"]`` and ``obs["unit"]`` if they are there. Weights
        that do not predict the cells at hand are dropped with a message.
    batch_key
        Column of ``obs`` with the batch of each cell.
    key_added
        Name of the results.
    scale
        ``"log1p"``: log1p of counts per 10,000 of the mean rate. ``"normalized"``: counts per
        10,000. ``"counts"``: counts at the cell's own depth. ``"expected_log1p"``: the mean of
        log1p(CP10k) over the posterior and the sampling noise, comparable with an observed
        log-normalised matrix.
    library_size
        Depth for ``"counts"`` and ``"expected_log1p"``, a number or one per cell; ``None`` for
        the cell's own.
    replace
        ``"all"`` denoises every entry; ``"zeros"`` keeps observed values and fills the zeros;
        ``"trusted"`` denoises trusted genes (see below) and leaves the others as observed.
    false_zero_rate
        Share of each gene's expected molecules that may be given up for exact zeros, as 0.05.
        Unobserved entries with the lowest rates become zero: a gene that is silent in a
        population is then zero there. The layer is sparse. ``None`` for no zeros.
    genes
        Genes to write; the layer is then sparse and stores these columns only. ``None`` for all.
    max_epochs
        Passes over the cells; ``None`` leaves the end to early stopping. 0 does not train: the
        bulk's knowledge alone, in seconds.
    batch_size
        Cells per minibatch.
    accelerator, devices
        As in scvi-tools: ``"auto"``, ``"cpu"``, ``"gpu"``, ``"mps"``; one device.
    random_state
        Seed. The same cells give the same numbers in whatever order cells and genes are. The
        caller's own random states are left alone.
    copy
        Return a new AnnData and leave ``adata`` as it is.
    return_model
        Return the trained model as well.
    return_std
        Also write the posterior's standard deviation, to ``layers[key_added + "_std"]``.
    out
        Zarr store to write: a copy of ``adata`` with the results, for
        :func:`anndata.read_zarr` or :func:`anndata.experimental.read_lazy`. The layer of
        ``adata`` is then a dask array that reads from it. It is written block by block, on the
        workers of a ``dask.distributed`` client if there is one, and called ``*.partial`` until
        it is whole: after an interruption the same call goes on where it ended.
    lazy
        The layer is a dask array, and a block of it is imputed whenever it is looked at.
    verbose
        Show progress bars, and tell in one line how it went; ``None`` does unless
        ``scdtl.settings.verbosity`` is above ``"warning"``.
    model_kwargs
        Arguments of :class:`scdtl.SCDTL`.
    train_kwargs
        Arguments of :meth:`scdtl.SCDTL.train`.

    Returns
    -------
    ``None``; a new AnnData with ``copy=True``; the model with ``return_model=True``; both, in
    this order, with both. These fields are written:

    ``layers[key_added]``
        Imputed expression on ``scale``, float32; a dask array with ``out`` or ``lazy``. Zero for
        features that are no genes.
    ``layers[key_added + "_std"]``
        With ``return_std=True``, its standard deviation: rates are gamma-distributed around the
        mean.
    ``obsm["X_" + key_added]``
        Latent of each cell.
    ``var[key_added + "_in_bulk"]``
        Whether bulk knew the gene.
    ``var[key_added + "_trust"]``
        Share of the deviance of held-out molecules that imputation explains beyond the mean
        profile; NaN where fewer than 20 molecules tell.
    ``var[key_added + "_trusted"]``
        Whether that is above 0 by more than sampling error. The others, without evidence or
        worse than their mean, should not be read gene by gene; ``replace="trusted"`` leaves
        them as observed.
    ``uns[key_added]``
        Parameters (those that are not ``None``), weights (name, hash, how genes were matched),
        versions, why training ended, its history, and the score on held-out molecules.

    Raises
    ------
    ValueError, TypeError, KeyError
        If the input is not raw counts, names are missing or taken, or less than 10 % of the
        genes are known to the weights.
    MemoryError
        If the results would not fit into memory.
    OSError
        If ``out`` can't be written.

    Notes
    -----
    Do not test for differential expression on the imputed layer: it shares information between
    cells, so that tests on it find differences that are not there.
    :func:`scdtl.tl.rank_genes_groups` tests the counts.

    Examples
    --------
    >>> import scanpy as sc
    >>> import scdtl
    >>> adata = scdtl.datasets.pbmc68k_counts()
    >>> scdtl.pp.impute(adata)
    >>> sc.pp.pca(adata, layer="scdtl")
    >>> sc.pp.neighbors(adata)
    >>> sc.tl.leiden(adata, flavor="igraph", n_iterations=2)

    An atlas that is larger than memory:

    >>> atlas = sc.read_h5ad("atlas.h5ad", backed="r")  # doctest: +SKIP
    >>> scdtl.pp.impute(atlas, out="imputed.zarr")  # doctest: +SKIP
    >>> atlas[:, "CD8A"].layers["scdtl"].compute()  # doctest: +SKIP
    """
    library_size, false_zero_rate, max_epochs, batch_size, random_state = map(
        unboxed, (library_size, false_zero_rate, max_epochs, batch_size, random_state)
    )
    model_kwargs, train_kwargs = unboxed(model_kwargs), unboxed(train_kwargs)
    if isinstance(bulk, str) and bulk.lower() == "none":  # as provenance and command line say it
        bulk = None
    params = {
        "layer": layer,
        "bulk": name_of_bulk(bulk),
        "batch_key": batch_key,
        "key_added": key_added,
        "scale": scale,
        "library_size": plain(library_size),
        "replace": replace,
        "false_zero_rate": false_zero_rate,
        "genes": plain(genes),
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        "random_state": random_state,
        "return_std": return_std,
        "model_kwargs": plain(model_kwargs or {}),
        "train_kwargs": plain(train_kwargs or {}),
    }
    params = {name: value for name, value in params.items() if value is not None}
    check_names(
        adata,
        layer=layer,
        batch_key=batch_key,
        key_added=key_added,
        genes=genes,
        may_be_backed=True,
        may_be_view=copy,
    )
    check_numbers(random_state=random_state, batch_size=batch_size, max_epochs=max_epochs)
    check_one_device(devices, (train_kwargs or {}).get("strategy"))
    sizes = check_scale(scale, replace, library_size, return_std, false_zero_rate, adata.n_obs)
    in_memory = is_in_memory(adata, layer)
    _check_place(adata, in_memory, out, lazy, copy, genes, false_zero_rate, return_std)
    store = None if out is None else Store(out, adata, key_added)
    note_other_features(adata)
    genes_at = np.flatnonzero(is_gene(adata))
    names = adata.var_names[genes_at]
    if verbose is None:
        verbose = logger.isEnabledFor(logging.WARNING)

    batches = _batches(adata, batch_key)
    batch_index = batches.codes.astype(np.int64)
    n_rows = rows_per_block(len(names), batch_size)
    if in_memory:
        rows = np.arange(adata.n_obs)
        counts = checked_counts(adata, layer)
        blocks = None if out is None and not lazy else in_blocks(counts, n_rows)
    else:
        n_cells = (train_kwargs or {}).get("max_training_cells", MAX_TRAINING_CELLS)
        rows = training_rows(batch_index, n_cells, random_state)
        blocks = read_in_blocks(adata, layer, n_rows)
        counts = blocks[rows].compute()
    note_oddities(counts)
    written = [key_added, f"{key_added}_std"][: 1 + return_std]
    columns = None if len(names) == adata.n_vars else genes_at
    if genes is not None:
        columns = adata.var_names.get_indexer(list(genes))
    wanted = Wanted(
        genes=genes,
        scale=scale,
        replace=replace,
        false_zero_rate=false_zero_rate,
        return_std=return_std,
        batch_size=batch_size,
        library_size=sizes,
        columns=columns,
        n_features=adata.n_vars,
    )
    with (
        local_seed(random_state),
        _registered(adata, names, layer, counts, rows, batches, batch_key) as cells,
    ):
        weights = None if bulk is None else as_weights(bulk, names, verbose)
        if store is not None:
            sha256 = None if weights is None else weights.sha256
            store.take_up(hashes_of_call(adata, counts, batch_index, sha256, params))
        if store is not None and store.is_begun:
            model = SCDTL.load(str(store.model), cells, accelerator=accelerator)
        else:
            with store.begun() if store else nullcontext():
                model = _model(cells, weights, model_kwargs)
                model.train(
                    max_epochs=max_epochs,
                    batch_size=batch_size,
                    accelerator=accelerator,
                    devices=devices,
                    **({"enable_progress_bar": verbose} | (train_kwargs or {})),
                )
                if store is not None:
                    model.save(str(store.model))
        about_genes = {
            f"{key_added}_{name}": _of_features(values, genes_at, adata.n_vars, other)
            for name, values, other in (
                ("in_bulk", model.in_bulk_, False),
                ("trust", model.held_out_["gene_deviance_explained"], np.nan),
                ("trusted", model.trusted_genes, False),
            )
        }
        entry = provenance(params, model)
        layers: Sequence[Any]
        if blocks is None:
            layers, latent = at_once(model, wanted, verbose)
        else:
            imputer = wanted.block_imputer(model)
            if store is None:
                layers, latent = on_access(imputer, wanted, blocks, batch_index, verbose)
            else:
                if not store.is_begun:
                    store.begin(written, key_added, blocks, imputer, about_genes, entry)
                store.write(blocks, imputer, batch_index, sizes, written, key_added, verbose)
                layers, latent = store.read(written, key_added)

    result = adata.copy() if copy else adata
    result.layers.pop(f"{key_added}_std", None)  # of an own earlier result
    for name, values in zip(written, layers, strict=True):
        result.layers[name] = values
    result.obsm[f"X_{key_added}"] = latent
    for name, values in about_genes.items():
        result.var[name] = values
    result.uns[key_added] = entry
    if verbose:
        _report(model, adata)
    returned = [thing for thing, asked in ((result, copy), (model, return_model)) if asked]
    return (tuple(returned) if len(returned) > 1 else returned[0]) if returned else None


def _check_place(
    adata: AnnData,
    in_memory: bool,
    out: str | PathLike[str] | None,
    lazy: bool,
    copy: bool,
    genes: Sequence[str] | None,
    false_zero_rate: float | None,
    return_std: bool,
) -> None:
    """Refuse, before any work, results that will find no place."""
    if copy and adata.isbacked:
        raise ValueError("copy=True can't copy a file: leave it out, the file stays as it is.")
    if out is not None and lazy:
        raise ValueError("out= writes the results and lazy=True does not: choose one of them.")
    if out is not None or lazy:
        require("dask.array", "zarr")
        return
    if not in_memory:
        raise ValueError(
            "The counts of adata are not in memory, and neither may the results fit: pass "
            "out='imputed.zarr' to write them to a file, or lazy=True to have them computed when "
            "they are looked at. What does fit can be loaded: adata = adata.to_memory()."
        )
    # Of chosen genes the layer is sparse, with an index beside each value. How many zeros a
    # false_zero_rate gives is not known before.
    n_columns, n_bytes = (adata.n_vars, 4) if genes is None else (len(genes), 8)
    n_layers = return_std + (false_zero_rate is None)
    check_memory(adata.n_obs, n_columns, n_bytes * n_layers)


def _batches(adata: AnnData, batch_key: str | None) -> Any:
    """Batch of each cell, a pandas Categorical of names."""
    if batch_key is None:
        return pd.Categorical(np.zeros(adata.n_obs, dtype=np.int8))
    return named_batches(in_pandas(adata.obs)[batch_key])


def _of_features(
    values: np.ndarray, genes_at: np.ndarray, n_features: int, other: object
) -> np.ndarray:
    """Values of genes among those of all features."""
    result = np.full(n_features, other, dtype=values.dtype)
    result[genes_at] = values
    return result


@contextmanager
def _registered(
    adata: AnnData,
    names: pd.Index,
    layer: str | None,
    counts: sparse.csr_matrix,
    rows: np.ndarray,
    batches: Any,
    batch_key: str | None,
) -> Iterator[AnnData]:
    """An AnnData of counts and batch alone, set up as the user's would be."""
    layers = {} if layer is None else {layer: counts}
    cells = AnnData(
        counts if layer is None else None, var=pd.DataFrame(index=names), layers=layers
    )
    cells.obs_names = adata.obs_names[rows]  # and not above, where anndata minds repeated ones
    if batch_key is not None:
        cells.obs[batch_key] = batches[rows]
    SCDTL.setup_anndata(cells, layer=layer, batch_key=batch_key)
    try:
        yield cells
    finally:
        forget_anndata(SCDTL, cells)


def _model(
    cells: AnnData, weights: BulkWeights | None, model_kwargs: dict[str, Any] | None
) -> SCDTL:
    if weights is None:
        return SCDTL(cells, **(model_kwargs or {}))
    return SCDTL.from_bulk_model(weights, cells, **(model_kwargs or {}))


def _report(model: SCDTL, adata: AnnData) -> None:
    """Tell in one line what was done, why training ended, and how far to believe it."""
    transfer, end = model.transfer_, model.training_end_
    origin = "without bulk"
    if transfer:
        origin = (
            f"from bulk weights {transfer['name']!r}, which know {transfer['n_genes_matched']} of "
            f"the genes ({in_words(transfer['matched_by'])})"
        )
    training = "Nothing was trained."
    if end:
        training = {
            "early stopping": "Training stopped early, after epoch {n_epochs} of {max_epochs}.",
            "max_epochs": "Training ran to the last epoch, {max_epochs}.",
            "interrupted": "Training was interrupted in epoch {n_epochs} of {max_epochs}.",
        }[end["reason"]].format(**end)
    trust, n_trusted = model.held_out_["gene_deviance_explained"], int(model.trusted_genes.sum())
    n_untold = int(np.isnan(trust).sum())
    logger.info(
        "Imputed %d cells × %d genes %s. %s Of the deviance of held-out molecules, %.1f %% is "
        "explained beyond the mean profile. Genes: %d trusted, %d not predicted better than by "
        "their mean, %d with too few molecules to tell.",
        adata.n_obs,
        len(trust),
        origin,
        training,
        100 * model.held_out_["deviance_explained"],
        n_trusted,
        len(trust) - n_trusted - n_untold,
        n_untold,
    )
