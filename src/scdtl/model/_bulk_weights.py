"""Bulk weights from any kind of ``bulk=`` argument."""

from __future__ import annotations

import logging
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
from anndata import AnnData

from scdtl._compat import forget_anndata
from scdtl.model._bulk import BulkDAE
from scdtl.model._bulk_samples import check_names, dense, gene_names
from scdtl.pretrained import BulkWeights, load_weights, match_genes
from scdtl.pretrained._safetensors import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger(__name__)

_OWN = "own bulk"
_READERS = {".h5ad": anndata.read_h5ad, ".zarr": anndata.read_zarr}
_KEYS = {"study_key": "study", "unit_key": "unit"}


def as_weights(bulk: Any, genes: Iterable[str], verbose: bool | None = None) -> BulkWeights:
    """Bulk weights from any kind of ``bulk=`` argument.

    Bulk samples must know some of the cells' genes before a network is trained on them.
    """
    if isinstance(bulk, BulkWeights):
        return bulk
    if isinstance(bulk, BulkDAE):
        return bulk.to_weights(name=_OWN)
    if isinstance(bulk, AnnData):
        return _trained_on(bulk, _OWN, genes, verbose)
    if not isinstance(bulk, str | PathLike):
        raise TypeError(
            "bulk must be the name of released weights, the path of a weight file or of an "
            "AnnData (.h5ad, .zarr), an AnnData, a BulkDAE or BulkWeights, not "
            f"{type(bulk).__name__}: wrap a table of samples × genes as anndata.AnnData(table)."
        )
    path = Path(bulk)
    if path.suffix in _READERS:
        return _trained_on(_read(path), path.name, genes, verbose)
    return load_weights(bulk if isinstance(bulk, str) else path, verbose=verbose)


def are_samples(bulk: Any) -> bool:
    """Whether ``bulk=`` was given samples, in memory or by path, on which a network is trained."""
    is_path = isinstance(bulk, str | PathLike)
    return isinstance(bulk, AnnData) or (is_path and Path(bulk).suffix in _READERS)


def _trained_on(
    bulk: AnnData, name: str, genes: Iterable[str], verbose: bool | None
) -> BulkWeights:
    """Weights of a network that is trained on bulk samples; these stay as they are."""
    check_names(bulk)  # anndata's own warning would come first
    bulk = bulk.to_memory()  # a file or dask arrays; nothing is copied
    keys = {
        key: column
        for key, column in _KEYS.items()
        if column in bulk.obs and bulk.obs[column].duplicated().any()
    }
    obs = bulk.obs[list(keys.values())].astype(str)
    samples = AnnData(bulk.X, obs=obs, var=bulk.var)
    try:
        BulkDAE.setup_anndata(samples, **keys)
        _check_genes(genes, samples)
        model = BulkDAE(samples)
        if verbose is None:
            verbose = logger.isEnabledFor(logging.WARNING)
        model.train(enable_progress_bar=verbose)
        # The samples are the same wherever the network is trained; its last bits are not.
        return replace(model.to_weights(name=name), sha256=_sha256(samples))
    finally:
        forget_anndata(BulkDAE, samples)


def _check_genes(genes: Iterable[str], samples: AnnData) -> None:
    """Refuse, before a network is trained, samples of other genes than the cells'."""
    symbols, ensembl_ids = gene_names(samples.var)
    cells = list(genes)
    try:
        match_genes(cells, symbols, ensembl_ids)
    except ValueError as error:
        raise ValueError(
            f"Hardly any genes of the cells ({', '.join(cells[:3])}, ...) are among those of the "
            f"bulk samples ({', '.join(symbols[:3])}, ...). Give samples of the same "
            "species, with symbols or Ensembl ids in bulk.var_names; to have both, with Ensembl "
            'ids in bulk.var_names and symbols in bulk.var["gene_name"].'
        ) from error


def _sha256(samples: AnnData) -> str:
    about = {"genes": gene_names(samples.var), "obs": samples.obs.to_dict("list")}
    return sha256_of(about, {"expression": dense(samples.X)})


def _read(path: Path) -> AnnData:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    try:
        return _READERS[path.suffix](path)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} can't be read as an AnnData: {error}") from error
