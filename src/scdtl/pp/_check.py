"""Checks of the user's input, before any work and without a change to it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scdtl._compat import layer_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData
    from scipy.sparse import csr_matrix

logger = logging.getLogger("scdtl")

_BLOCK = 1 << 22
_LARGEST_LOG = 25
_LARGEST_COUNT = 2**53  # beyond, not even float64 tells whole numbers apart
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


def check_input(adata: AnnData, *, layer: str | None, batch_key: str | None = None) -> csr_matrix:
    """Check the data that a function is given, which writes no layer, and return the counts.

    Parameters
    ----------
    adata, layer, batch_key
        As in :func:`scdtl.pp.impute`.

    Returns
    -------
    The counts as CSR of float32 with sorted indices, no duplicates and no stored zeros.
    They share memory with `adata` where its matrix is of that kind already: don't write
    into them.

    Examples
    --------
    >>> import scdtl
    >>> from scdtl.pp._check import check_input
    >>> check_input(scdtl.datasets.toy(), layer=None).shape
    (60, 40)
    """
    check_names(adata, layer=layer, batch_key=batch_key)
    return checked_counts(adata, layer)


def checked_counts(adata: AnnData, layer: str | None) -> csr_matrix:
    """Check the counts alone, in memory, and return them as :func:`check_input` does.

    Parameters
    ----------
    adata, layer
        As in :func:`scdtl.pp.impute`.
    """
    matrix, name = count_matrix(adata, layer)
    check_counts(matrix, name=name, hint=other_matrices(adata, layer))
    return canonical_csr(matrix)


def check_names(
    adata: AnnData,
    *,
    layer: str | None,
    batch_key: str | None = None,
    key_added: str | None = None,
    genes: Sequence[str] | None = None,
    may_be_backed: bool = False,
) -> None:
    """Check all of the input but the counts.

    Parameters
    ----------
    adata, layer, batch_key, key_added, genes
        As in :func:`scdtl.pp.impute`; ``None`` where nothing is written.
    may_be_backed
        Whether the counts may be in a file.

    Examples
    --------
    >>> import scdtl
    >>> from scdtl.pp._check import check_names
    >>> check_names(scdtl.datasets.toy(), layer=None, genes=["GENE1"])
    """
    check_anndata(adata, may_be_backed=may_be_backed)
    _check_batch_key(adata, batch_key)
    if key_added is not None:
        _check_key_added(adata, key_added, layer)
    _check_genes(adata, genes)


def check_numbers(*, random_state: int, batch_size: int, max_epochs: int | None) -> None:
    """Refuse numbers that training can't go by.

    Parameters
    ----------
    random_state, batch_size, max_epochs
        As in :func:`scdtl.pp.impute`.

    Examples
    --------
    >>> from scdtl.pp._check import check_numbers
    >>> check_numbers(random_state=0, batch_size=64, max_epochs=None)
    """
    numbers = {"random_state": (random_state, 0), "batch_size": (batch_size, 1)}
    if max_epochs is not None:
        numbers["max_epochs"] = (max_epochs, 0)
    for name, (number, least) in numbers.items():
        if not isinstance(number, int) or number < least:
            raise ValueError(f"{name} must be a whole number from {least} on; got {number!r}.")
    if random_state >= 2**64:
        raise ValueError(f"random_state must be below 2**64; got {random_state!r}.")


def check_anndata(adata: AnnData, *, may_be_backed: bool = False) -> None:
    """Refuse what is not an AnnData with cells, genes and unique gene names.

    Parameters
    ----------
    adata
        What the user gave.
    may_be_backed
        Whether the counts may be in a file.

    Examples
    --------
    >>> import scdtl
    >>> from scdtl.pp._check import check_anndata
    >>> check_anndata(scdtl.datasets.toy())
    """
    from anndata import AnnData

    if not isinstance(adata, AnnData):
        raise TypeError(
            f"adata must be an AnnData, not {type(adata).__name__}: wrap a cells × genes matrix "
            "as anndata.AnnData(matrix, obs=..., var=...)."
        )
    if adata.is_view:
        raise ValueError(
            "adata is a view of another AnnData, which results can't be written to: make it an "
            "object of its own first with adata = adata.copy()."
        )
    if adata.isbacked and not may_be_backed:
        raise ValueError(
            "adata is backed by a file on disk: load it first with adata = adata.to_memory()."
        )
    if adata.n_obs == 0 or adata.n_vars == 0:
        missing = "cells" if adata.n_obs == 0 else "genes"
        raise ValueError(
            f"adata has no {missing} (shape {adata.n_obs} × {adata.n_vars}): "
            "look at the filter that ran before."
        )
    if not adata.var_names.is_unique:
        repeated = adata.var_names[adata.var_names.duplicated()].unique()
        raise ValueError(
            f"adata.var_names are not unique ({_listed(repeated)}): "
            "call adata.var_names_make_unique() first."
        )


def check_counts(matrix: Any, *, name: str = "adata.X", hint: str = "") -> None:
    """Refuse a matrix that does not hold raw counts; of a sparse one, only stored values are read.

    Parameters
    ----------
    matrix
        Dense or sparse matrix.
    name
        What the message calls it.
    hint
        Where the counts may be instead, added to the message.

    Examples
    --------
    >>> import numpy as np
    >>> from scdtl.pp._check import check_counts
    >>> check_counts(np.array([[0, 3], [1, 0]]))
    """
    from scipy.sparse import issparse

    if not (issparse(matrix) or isinstance(matrix, np.ndarray)):
        raise TypeError(
            f"{name} is of type {type(matrix).__name__}, but must be a NumPy array or a SciPy "
            "sparse matrix in memory: load it first with adata = adata.to_memory()."
        )
    if isinstance(matrix, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array: say what stands for masked values, as with adata.X = "
            "adata.X.filled(0) if they were not counted."
        )
    if matrix.dtype.kind not in "buif":
        raise TypeError(
            f"{name} is of dtype {matrix.dtype}, but counts are numbers: convert it first with "
            '.astype("float32").'
        )
    smallest, largest, whole = _extremes(matrix.data if issparse(matrix) else matrix)
    advice = f"scdtl needs raw counts (whole molecules, nothing below zero). {hint}".rstrip()
    if np.isnan(smallest):
        raise ValueError(f"{name} contains NaN: {advice}")
    if largest > _LARGEST_FLOAT32 or smallest < -_LARGEST_FLOAT32:
        raise ValueError(f"{name} contains infinite values: {advice}")
    if largest > _LARGEST_COUNT:
        raise ValueError(f"{name} contains {largest:g}, which is no number of molecules: {advice}")
    if smallest < 0:
        raise ValueError(
            f"{name} contains negative values (smallest {smallest:g}), as after scaling or batch "
            f"correction: {advice}"
        )
    if not whole:
        kind = "log-normalised" if largest < _LARGEST_LOG else "normalised or corrected"
        raise ValueError(
            f"{name} contains values that are not integers (largest {largest:g}); "
            f"it looks {kind}: {advice}"
        )


def canonical_csr(matrix: Any) -> csr_matrix:
    """Give checked counts as CSR of float32: sorted, no duplicates, no stored zeros.

    Parameters
    ----------
    matrix
        Dense or sparse matrix, which stays as it is.

    Returns
    -------
    A CSR matrix, which shares memory with `matrix` where that is of this kind already.

    Examples
    --------
    >>> import numpy as np
    >>> from scdtl.pp._check import canonical_csr
    >>> canonical_csr(np.array([[0, 3], [1, 0]])).data
    array([3., 1.], dtype=float32)
    """
    from scipy.sparse import csr_matrix, issparse

    # SciPy knows no sparse matrix of half precision.
    counts = csr_matrix(matrix.astype(np.float32) if matrix.dtype == np.float16 else matrix)
    shared = issparse(matrix) and np.may_share_memory(counts.data, matrix.data)
    # A second look at the arrays themselves: the flags of the user's matrix may be out of date.
    counts = csr_matrix((counts.data, counts.indices, counts.indptr), shape=counts.shape)
    if not counts.has_canonical_format or (counts.data.size and not counts.data.all()):
        counts = counts.copy() if shared else counts
        counts.sum_duplicates()
        counts.eliminate_zeros()
    return counts.astype(np.float32, copy=False)


def _check_batch_key(adata: AnnData, batch_key: str | None) -> None:
    if batch_key is None:
        return
    _check_text("batch_key", batch_key)
    if batch_key not in adata.obs:
        raise KeyError(
            f"batch_key {batch_key!r} is not a column of adata.obs; "
            f"there are: {_listed(adata.obs.columns)}."
        )
    n_missing = int(pd.isna(np.asarray(adata.obs[batch_key], dtype=object)).sum())
    if n_missing:
        raise ValueError(
            f"adata.obs[{batch_key!r}] has no batch (NaN) for {n_missing} of {adata.n_obs} cells: "
            "give every cell a batch, or drop those cells."
        )


def _check_key_added(adata: AnnData, key_added: str, layer: str | None) -> None:
    if not isinstance(key_added, str) or not key_added:
        raise TypeError(f"key_added must be a name (str) for the new layer, not {key_added!r}.")
    if "/" in key_added or "\0" in key_added:
        raise ValueError(
            f"key_added={key_added!r} has a character that .h5ad can't keep in names."
        )
    if key_added == layer:
        raise ValueError(
            f"layer and key_added are both {layer!r}, which would overwrite the counts: "
            "choose another key_added."
        )
    written = [
        ("layers", key_added),
        ("layers", f"{key_added}_std"),
        ("obsm", f"X_{key_added}"),
        ("var", f"{key_added}_in_bulk"),
        ("var", f"{key_added}_trust"),
        ("var", f"{key_added}_trusted"),
        ("uns", key_added),
    ]
    taken = [f"{slot}[{key!r}]" for slot, key in written if key in getattr(adata, slot)]
    if taken and not _is_own_result(adata.uns.get(key_added)):
        raise ValueError(
            f"adata.{' and adata.'.join(taken)} would be overwritten and did not come from scdtl: "
            f"choose another key_added than {key_added!r}, or delete it first."
        )


def _is_own_result(entry: object) -> bool:
    params = entry.get("params") if isinstance(entry, Mapping) else None
    return isinstance(params, Mapping) and {"scale", "replace"} <= params.keys()


def _check_genes(adata: AnnData, genes: Sequence[str] | None) -> None:
    if genes is None:
        return
    if isinstance(genes, str):
        raise TypeError(f"genes must be a list of gene names: write genes=[{genes!r}].")
    names = list(genes)
    if not names:
        raise ValueError("genes is empty: name at least one gene, or leave it out for all.")
    for name in names:
        _check_text("each of genes", name)
    unknown = [gene for gene in names if gene not in adata.var_names]
    if unknown:
        raise KeyError(
            f"{len(unknown)} of {len(names)} genes are not in adata.var_names: "
            f"{_listed(unknown)}. The names there look like {_listed(adata.var_names)}."
        )
    if len(set(names)) < len(names):
        raise ValueError("genes names some genes more than once: give each one once.")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a name (str), not {value!r}.")


def count_matrix(adata: AnnData, layer: str | None) -> tuple[Any, str]:
    """The matrix that holds the counts, of whatever kind, and what messages call it.

    Parameters
    ----------
    adata, layer
        As in :func:`scdtl.pp.impute`.
    """
    if layer is not None:
        _check_text("layer", layer)
    if layer is None:
        if adata.X is None:
            raise ValueError(f"adata.X is None. {other_matrices(adata, layer)}".rstrip())
        return adata.X, "adata.X"
    if layer not in adata.layers:
        raise KeyError(
            f"layer {layer!r} is not in adata.layers; there are: {_listed(layer_names(adata))}."
        )
    return adata.layers[layer], f"adata.layers[{layer!r}]"


def other_matrices(adata: AnnData, layer: str | None) -> str:
    """Where else in `adata` the counts may be, as advice.

    Parameters
    ----------
    adata, layer
        As in :func:`scdtl.pp.impute`.
    """
    others = [f"layer={name!r}" for name in layer_names(adata) if name != layer]
    if layer is not None and adata.X is not None:
        others.append("layer=None for adata.X")
    if others:
        return f"If they are in another layer, pass {' or '.join(others)}."
    if adata.raw is not None:
        return "If they are in adata.raw, give adata.raw.to_adata() instead."
    return "If they are elsewhere, put them into a layer and pass its name as layer=."


def _extremes(values: np.ndarray) -> tuple[float, float, bool]:
    """Smallest and largest value (NaN if there is one) and whether all are whole numbers."""
    smallest, largest, whole = np.inf, -np.inf, True
    for block in _blocks(values):
        low, high = float(block.min()), float(block.max())
        smallest, largest = np.minimum(smallest, low), np.maximum(largest, high)
        if whole and block.dtype.kind == "f":
            whole = bool(np.array_equal(block, np.rint(block)))
    if smallest > largest:
        return 0.0, 0.0, True
    return float(smallest), float(largest), whole


def _blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    """Cut an array along its memory into pieces, so that a check takes little memory."""
    if values.ndim > 1 and values.flags.f_contiguous:
        values = values.T
    rows = max(1, _BLOCK // max(1, values[:1].size))
    for start in range(0, len(values), rows):
        yield values[start : start + rows]


def note_empty(counts: csr_matrix) -> None:
    """Tell of cells and genes without counts.

    Parameters
    ----------
    counts
        Checked counts.
    """
    n_cells = int((np.diff(counts.indptr) == 0).sum())
    if n_cells:
        logger.warning("%d cells have no counts: their imputed values stay zero.", n_cells)
    detected = np.zeros(counts.shape[1], dtype=bool)
    detected[counts.indices] = True
    n_genes = int((~detected).sum())
    if n_genes:
        logger.info("%d genes have no counts: their imputed values stay zero.", n_genes)


def _listed(names: Any, most: int = 5) -> str:
    names = [str(name) for name in names]
    if not names:
        return "none"
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
