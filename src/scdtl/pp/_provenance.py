"""What a result tells of how it came about, and which call it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

    from scdtl.model import SCDTL

_VERSIONS_OF = ("scdtl", "scvi-tools", "torch", "anndata", "numpy")


def provenance(params: dict[str, Any], model: SCDTL) -> dict[str, Any]:
    """Entry of ``uns``.

    Parameters
    ----------
    params
        Arguments of the call, plain.
    model
        Trained.
    """
    frames = (model.history or {}).values()
    # One row per epoch, so that a validation is at its epoch; NaN where there was none.
    history = pd.concat(frames, axis=1) if frames else pd.DataFrame()
    return {
        "params": params,
        "weights": dict(model.transfer_),
        "versions": _versions(),
        "training": dict(model.training_end_),
        "history": {name: values.to_numpy(dtype=np.float64) for name, values in history.items()},
        "held_out_deviance_explained": model.held_out_["deviance_explained"],
        "use": "Clustering, visualisation, plots of genes. Not to be tested for differential "
        "expression: scdtl.tl.rank_genes_groups tests the counts.",
    }


def name_of_bulk(bulk: Any) -> str:
    """What the provenance calls the source of the bulk knowledge.

    Parameters
    ----------
    bulk
        As in :func:`scdtl.pp.impute`.
    """
    if bulk is None or isinstance(bulk, str | Path):
        return "none" if bulk is None else str(bulk)
    return type(bulk).__name__


def unboxed(value: Any) -> Any:
    """The value with Python's own numbers in place of NumPy's, also in dictionaries.

    What a file gives back is NumPy's, and half of the libraries below take only Python's.

    Parameters
    ----------
    value
        An argument.
    """
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    if isinstance(value, Mapping):
        return {key: unboxed(item) for key, item in value.items()}
    return value


def plain(value: Any) -> Any:
    """The value in a form that .h5ad and .zarr can keep; objects by their description.

    Entries that are ``None`` are left out: files that hold them can't be read by anndata before
    0.12, nor in R.

    Parameters
    ----------
    value
        An argument.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items() if item is not None}
    array = np.asarray(value)
    if array.dtype.kind in "OT" and all(isinstance(item, str) for item in array.flat):
        array = np.array(array.tolist(), dtype=str)
    return array if array.dtype.kind in "biufU" else repr(value)


def hashes_of_call(
    adata: AnnData,
    counts: sparse.csr_matrix,
    batch_index: np.ndarray,
    weights: str | None,
    params: dict[str, Any],
) -> dict[str, str]:
    """Describe a call, so that only the same one goes on with what it has begun.

    Parameters
    ----------
    adata
        As in :func:`scdtl.pp.impute`.
    counts
        Those of the cells to train on.
    batch_index
        Batch of each cell.
    weights
        Hash of the bulk weights.
    params
        Arguments of the call, plain.
    """
    described: dict[str, Any] = {f"argument {name}": value for name, value in params.items()}
    described |= {f"version of {name}": value for name, value in _versions().items()}
    described |= {
        "cells": list(adata.obs_names),
        "genes": list(adata.var_names),
        "batches": batch_index,
        "bulk weights": weights,
    }
    hashes = {
        name: _sha256(json.dumps(value, default=lambda array: array.tolist()).encode())
        for name, value in described.items()
    }
    arrays = (counts.data, counts.indices.astype(np.int64), counts.indptr.astype(np.int64))
    return hashes | {"counts": _sha256(*(memoryview(array) for array in arrays))}


def _sha256(*parts: bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _VERSIONS_OF}
