"""impute(): the one call, and the only writer of results into the user's AnnData."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from scdtl._compat import check_one_device
from scdtl._constants import DEFAULT_BULK, DEFAULT_KEY, LAYER_ENDINGS
from scdtl._random import local_seed
from scdtl.data._checks import check_names, check_numbers
from scdtl.data._counts import find_counts
from scdtl.data._features import note_other_features
from scdtl.data._noise_of import check_noise
from scdtl.data._raw_counts import note_oddities
from scdtl.model._scales import check_scale
from scdtl.pp._auto import weights_for
from scdtl.pp._layers import predict
from scdtl.pp._limits import check_place
from scdtl.pp._provenance import hashes_of_call, provenance, python_numbers, recorded, report
from scdtl.pp._store import Store
from scdtl.pp._training import read_cells, trained_model
from scdtl.train._held_out import MAX_TRAINING_CELLS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike
    from pathlib import Path

    from anndata import AnnData

    from scdtl.data._noise_of import Noise
    from scdtl.model import SCDTL, BulkDAE
    from scdtl.model._scales import Replace, Scale
    from scdtl.pretrained import BulkWeights

logger = logging.getLogger(__name__)


def impute(
    adata: AnnData,
    *,
    layer: str | None = None,
    noise: Noise = "auto",
    bulk: str | Path | BulkDAE | BulkWeights | AnnData | None = DEFAULT_BULK,
    batch_key: str | None = None,
    key_added: str = DEFAULT_KEY,
    scale: Scale = "log1p",
    library_size: float | Sequence[float] | None = None,
    replace: Replace = "all",
    false_zero_rate: float | None = None,
    own_counts: bool = True,
    dropout_threshold: float = 0.5,
    genes: Sequence[str] | None = None,
    max_epochs: int | None = None,
    batch_size: int = 64,
    accelerator: str = "auto",
    devices: int | list[int] | str = "auto",
    random_state: int = 0,
    copy: bool = False,
    return_model: bool = False,
    return_std: bool = False,
    return_dropout: bool = False,
    out: str | PathLike[str] | None = None,
    lazy: bool = False,
    verbose: bool | None = None,
    model_kwargs: dict[str, Any] | None = None,
    train_kwargs: dict[str, Any] | None = None,
) -> AnnData | SCDTL | tuple[AnnData, SCDTL] | None:
    """Impute raw counts by transfer learning from bulk RNA-seq.

    Trains :class:`scdtl.SCDTL`, starting from bulk weights unless ``bulk=None``, until the
    prediction of held-out molecules (for reads, of entries) hardly improves any more. Then writes
    the mean rate of every gene in every cell. All results are computed before the first is
    written: after an error ``adata`` is unchanged.

    Neither the counts nor the results need to fit into memory: see ``out`` and ``lazy``.

    Parameters
    ----------
    adata
        Cells × genes with raw counts (sparse or dense), gene names in ``var_names``. Features that
        are not genes by ``var["feature_types"]`` are left out and zero in the layer. With ``out``
        or ``lazy`` it may be backed by an .h5ad file, or hold dask arrays, as from
        :func:`anndata.experimental.read_lazy`: training then reads at most a sample of the cells,
        and imputation reads them block by block.
    layer
        Layer with the raw counts; ``None`` for ``adata.X``.
    noise
        Kind of counts. ``"umi"``: whole numbers of molecules, as from droplet protocols.
        ``"reads"``: non-negative, not log-transformed values, such as read counts of full-length
        protocols, RSEM's expected counts, TPM, FPKM and CPM, where amplified copies are counted
        and whole entries drop out. ``"auto"`` decides by the values; ``uns`` records why.
    bulk
        What the network starts from: name of released weights (``scdtl.pretrained.available``;
        ``"human"`` and ``"mouse"`` ship with the package), ``"auto"``, path of a weight file,
        a trained :class:`scdtl.BulkDAE`, your own bulk samples, or ``None`` for no transfer.
        Samples are an AnnData of samples × genes, or the path of one in ``.h5ad`` or ``.zarr``, as
        :meth:`scdtl.BulkDAE.setup_anndata` takes it; a BulkDAE is trained on them first, using
        ``obs["study"]`` and ``obs["unit"]`` if present. ``"auto"`` compares the released weights
        on this machine and takes those that, before any training, best predict held-out data of up
        to 512 of the cells. Weights that do not predict your cells are dropped with a message.
    batch_key
        Column of ``obs`` with the batch of each cell.
    key_added
        Name of the results.
    scale
        ``"log1p"``: log1p of the mean rate per 10,000 counts. ``"normalized"``: the same without
        the logarithm. ``"counts"``: counts at the cell's own library size. ``"expected_log1p"``:
        the mean of log1p(CP10k) over the posterior and the sampling noise, comparable with an
        observed log-normalised matrix.
    library_size
        Counts per cell for ``"counts"`` and ``"expected_log1p"``, a number or one per cell;
        ``None`` for the cell's own.
    replace
        ``"all"`` denoises every entry; ``"zeros"`` keeps observed values and fills the zeros;
        ``"trusted"`` denoises trusted genes (see below) and leaves the others as observed;
        ``"dropouts"`` keeps observed values, fills likely dropouts and leaves the other zeros: the
        layer is sparse.
    false_zero_rate
        Share of each gene's expected molecules that may be lost to exact zeros, such as 0.05.
        Entries without a count that have the lowest rates become zero: a gene that is silent in a
        population is then zero there. The layer is sparse. ``None`` for no zeros.
    own_counts
        ``False`` predicts each entry from the other genes alone, without its own value: for
        entries that are known to have dropped out.
    dropout_threshold
        Probability of a dropout above which ``replace="dropouts"`` fills a zero.
    genes
        Genes to write; the layer is then sparse and stores these columns only. ``None`` for all.
    max_epochs
        Passes over the cells; ``None`` for as many as suit data of this size, see
        :meth:`scdtl.SCDTL.train`. 0 skips training, which then takes seconds: bulk is only
        adapted to the cells in closed form, as it otherwise is after training.
    batch_size
        Cells per minibatch.
    accelerator, devices
        As in scvi-tools: ``"auto"``, ``"cpu"`` or ``"gpu"`` (of NVIDIA or AMD); one device.
    random_state
        Seed. Results do not depend on the order of cells and genes. Global random states are not
        touched.
    copy
        Return a new AnnData and leave ``adata`` as it is.
    return_model
        Return the trained model as well.
    return_std
        Also write the posterior's standard deviation, to ``layers[key_added + "_std"]``.
    return_dropout
        Also write for each zero the probability that it is a dropout, to
        ``layers[key_added + "_dropout"]``.
    out
        Zarr store to write: a copy of ``adata`` with the results, for :func:`anndata.read_zarr` or
        :func:`anndata.experimental.read_lazy`. The layer of ``adata`` is then a dask array that
        reads from it. It is written block by block, on the workers of a ``dask.distributed``
        client if there is one, and called ``*.partial`` until it is complete: after an
        interruption the same call continues where it stopped.
    lazy
        The layer is a dask array whose blocks are imputed on access.
    verbose
        Show progress bars and a one-line summary; ``None`` does so unless
        ``scdtl.settings.verbosity`` is above ``"warning"``.
    model_kwargs
        Arguments of :class:`scdtl.SCDTL`.
    train_kwargs
        Arguments of :meth:`scdtl.SCDTL.train`.

    Returns
    -------
    ``None``; a new AnnData with ``copy=True``; the model with ``return_model=True``; with both,
    both in this order. These fields are written:

    ``layers[key_added]``
        Imputed expression on ``scale``, float32; a dask array with ``out`` or ``lazy``. Zero for
        features that are not genes.
    ``layers[key_added + "_std"]``
        With ``return_std=True``, its standard deviation.
    ``layers[key_added + "_dropout"]``
        With ``return_dropout=True``, for each zero the probability that a second, independent
        measurement of the cell would detect the gene, judging by the other genes (for UMIs, a
        second sample of the same depth). Sparse; 0 where there is a count, or below 0.01.
    ``obsm["X_" + key_added]``
        Latent of each cell.
    ``var[key_added + "_in_bulk"]``
        Whether the gene is in the bulk weights.
    ``var[key_added + "_trust"]``
        Share of the deviance of held-out molecules that imputation explains beyond the mean
        profile; NaN where fewer than 20 molecules were held out. For reads, share of the squared
        error of held-out entries, on log1p of counts per 10,000; NaN where fewer than 5 are not
        zero.
    ``var[key_added + "_trusted"]``
        Whether that exceeds 0 by more than sampling error. The other genes, without evidence or
        predicted worse than by their mean, should not be interpreted individually;
        ``replace="trusted"`` leaves them as observed.
    ``uns[key_added]``
        Parameters (those that are not ``None``), the noise model and the evidence for it, weights
        (name, hash, how genes were matched), versions, why training ended, its history, and the
        score on held-out data.

    Raises
    ------
    ValueError, TypeError, KeyError
        If the input is not raw counts, names are missing or already in use, or less than 10 % of
        the genes are in the weights.
    MemoryError
        If the results would not fit into memory.
    OSError
        If ``out`` can't be written.

    Notes
    -----
    Do not test for differential expression on the imputed layer: it shares information between
    cells, so tests on it find differences that do not exist. :func:`scdtl.tl.rank_genes_groups`
    tests the counts.

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
    library_size, false_zero_rate, dropout_threshold, max_epochs, batch_size, random_state = map(
        python_numbers,
        (library_size, false_zero_rate, dropout_threshold, max_epochs, batch_size, random_state),
    )
    model_kwargs, train_kwargs = map(python_numbers, (model_kwargs or {}, train_kwargs or {}))
    if isinstance(bulk, str) and bulk.lower() == "none":  # as provenance and command line say it
        bulk = None
    if verbose is None:
        verbose = logger.isEnabledFor(logging.WARNING)
    params = recorded(impute, locals())

    is_gene = check_names(
        adata,
        layer=layer,
        batch_key=batch_key,
        key_added=key_added,
        genes=genes,
        may_be_backed=True,
        may_be_view=copy,
    )
    check_numbers(random_state=random_state, batch_size=batch_size, max_epochs=max_epochs)
    check_one_device(devices, train_kwargs.get("strategy"))
    sizes = check_scale(
        scale, replace, library_size, return_std, false_zero_rate, adata.n_obs, dropout_threshold
    )
    check_noise(noise)
    found = find_counts(adata, layer, is_gene, noise)
    n_dense = return_std + (false_zero_rate is None)  # how many zeros come is not known before
    check_place(adata.shape, genes, n_dense, found.in_memory, adata.isbacked, copy, out, lazy)
    store = None if out is None else Store(out, adata, key_added)
    note_other_features(adata.var, is_gene)
    features = adata.var_names
    cells, recognised = read_cells(adata, found, is_gene, layer, batch_key, batch_size)
    training = dict(
        max_epochs=max_epochs,
        batch_size=batch_size,
        accelerator=accelerator,
        devices=devices,
        **({"enable_progress_bar": verbose} | train_kwargs),
    )

    with local_seed(random_state):
        weights = None if bulk is None else weights_for(bulk, cells, verbose)
        n_cells = training.get("max_training_cells", MAX_TRAINING_CELLS)
        sample = cells.for_training(weights, n_cells)
        note_oddities(sample.counts, recognised.noise)
        if store is not None:
            store.resume(hashes_of_call(cells, features, sample.counts, weights, params))
        model = trained_model(sample, weights, store, model_kwargs, training)
        wanted = {
            "scale": scale,
            "replace": replace,
            "own_counts": own_counts,
            "dropout_threshold": dropout_threshold,
            "return_std": return_std,
            "return_dropout": return_dropout,
        }
        prediction = predict(
            model, cells, features, genes, sizes, false_zero_rate, batch_size, **wanted
        )
        about_genes = _about_genes(model, key_added, is_gene)
        entry = provenance(params, model, recognised)
        if store is not None:
            layers, latent = store.write(prediction, about_genes, entry, verbose)
        else:
            layers, latent = (prediction.on_access if lazy else prediction.in_memory)(verbose)

    result = adata.copy() if copy else adata
    named_layers = dict(zip(prediction.layers, layers, strict=True))
    _write(result, key_added, named_layers, latent, about_genes, entry)
    if verbose:
        report(model, len(cells.names), recognised)
    returned = [thing for thing, asked in ((result, copy), (model, return_model)) if asked]
    return (tuple(returned) if len(returned) > 1 else returned[0]) if returned else None


def _about_genes(model: SCDTL, key_added: str, is_gene: np.ndarray) -> dict[str, np.ndarray]:
    """New columns of ``var``."""
    about = {}
    for name, of_genes, of_others in (
        ("in_bulk", model.in_bulk_, False),
        ("trust", model.held_out_["gene_deviance_explained"], np.nan),
        ("trusted", model.trusted_genes, False),
    ):
        column = np.full(len(is_gene), of_others, dtype=of_genes.dtype)
        column[is_gene] = of_genes
        about[f"{key_added}_{name}"] = column
    return about


def _write(
    adata: AnnData,
    key_added: str,
    layers: dict[str, Any],
    latent: np.ndarray,
    about_genes: dict[str, np.ndarray],
    entry: dict[str, Any],
) -> None:
    for ending in LAYER_ENDINGS:
        adata.layers.pop(key_added + ending, None)  # of an own earlier result
    for ending, values in layers.items():
        adata.layers[key_added + ending] = values
    adata.obsm[f"X_{key_added}"] = latent
    for name, values in about_genes.items():
        adata.var[name] = values
    adata.uns[key_added] = entry
