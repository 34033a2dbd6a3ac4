"""What is logged and recorded about a call: its arguments, its outcome, and a hash of each."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scdtl.genes import in_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy import sparse

    from scdtl.data._noise_of import Recognised
    from scdtl.model import SCDTL
    from scdtl.pp._training import Cells
    from scdtl.pretrained import BulkWeights

logger = logging.getLogger(__name__)

_OF_ITS_RUN = "adata accelerator devices copy return_model out lazy verbose".split()
_VERSIONS_OF = ("scdtl", "scvi-tools", "torch", "anndata", "numpy")


def provenance(params: dict[str, Any], model: SCDTL, recognised: Recognised) -> dict[str, Any]:
    """Entry of ``uns``."""
    frames = (model.history or {}).values()
    # One row per epoch, so that a validation is at its epoch; NaN where there was none.
    history = pd.concat(frames, axis=1) if frames else pd.DataFrame()
    return {
        "params": params,
        "noise": {"model": recognised.noise, "why": recognised.why, **recognised.evidence},
        "weights": dict(model.transfer_),
        "versions": _versions(),
        "training": dict(model.training_end_),
        "history": {name: values.to_numpy(dtype=np.float64) for name, values in history.items()},
        "held_out_deviance_explained": model.held_out_["deviance_explained"],
        "use": "For clustering, visualisation and plots of genes. Do not test it for differential "
        "expression: scdtl.tl.rank_genes_groups tests the counts.",
    }


def report(model: SCDTL, n_cells: int, recognised: Recognised) -> None:
    """Log in one line what was done, why training ended, and how good the prediction is."""
    transfer, end = model.transfer_, model.training_end_
    origin = "without bulk"
    if transfer:
        origin = (
            f"from bulk weights {transfer['name']!r}, which include {transfer['n_genes_matched']} "
            f"of the genes ({in_words(transfer['matched_by'])})"
        )
    training = "Nothing was trained."
    if end:
        training = {
            "early stopping": "Training stopped early, after epoch {n_epochs} of {max_epochs}.",
            "max_epochs": "Training ended as planned, after epoch {max_epochs}.",
            "interrupted": "Training was interrupted in epoch {n_epochs} of {max_epochs}.",
        }[end["reason"]].format(**end)
    trust, n_trusted = model.held_out_["gene_deviance_explained"], int(model.trusted_genes.sum())
    n_untold = int(np.isnan(trust).sum())
    logger.info(
        "Imputed %d cells × %d genes as %s (%s) %s. %s Imputation explains %.1f %% of the "
        "deviance of held-out %s beyond the mean profile. Genes: %d trusted, %d not clearly "
        "predicted better than by their mean, %d with too little data to tell.",
        n_cells,
        len(trust),
        {"umi": "UMIs"}.get(recognised.noise, recognised.noise),
        recognised.why,
        origin,
        training,
        100 * model.held_out_["deviance_explained"],
        model.module.noise.unit,
        n_trusted,
        len(trust) - n_trusted - n_untold,
        n_untold,
    )


def recorded(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a function in a form that files can keep, without those of its run."""
    names = [name for name in signature(function).parameters if name not in _OF_ITS_RUN]
    named = {name: values[name] for name in names}
    bulk = named["bulk"]
    if bulk is None or isinstance(bulk, str | Path):
        named["bulk"] = "none" if bulk is None else str(bulk)
    else:
        named["bulk"] = type(bulk).__name__
    return _plain(named)


def python_numbers(value: Any) -> Any:
    """The value with Python's own numbers in place of NumPy's, also in dictionaries.

    What a file gives back is NumPy's, and half of the libraries below take only Python's.
    """
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    if isinstance(value, Mapping):
        return {key: python_numbers(item) for key, item in value.items()}
    return value


def _plain(value: Any) -> Any:
    """The value in a form that files can keep; objects by their description.

    Entries that are ``None`` are left out: files that hold them can't be read by anndata before
    0.12, nor in R.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    array = np.asarray(value)
    if array.dtype.kind in "OT" and all(isinstance(item, str) for item in array.flat):
        array = np.array(array.tolist(), dtype=str)
    return array if array.dtype.kind in "biufU" else repr(value)


def hashes_of_call(
    cells: Cells,
    features: pd.Index,
    counts: sparse.csr_matrix,
    weights: BulkWeights | None,
    params: dict[str, Any],
) -> dict[str, str]:
    """Describe a call, so that only the same one goes on with what it has begun."""
    described: dict[str, Any] = {f"argument {name}": value for name, value in params.items()}
    described |= {f"version of {name}": value for name, value in _versions().items()}
    described |= {
        "cells": list(cells.names),
        "genes": list(features),
        "batches": cells.batch_index,
        "bulk weights": None if weights is None else weights.sha256,
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
