"""Raw counts: where they are in an AnnData, and whether a matrix holds them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scdtl._compat import layer_names
from scdtl._constants import LAYER_ENDINGS
from scdtl.data._noise_of import Recognised, check_noise, evidence_of, recognised

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    from scdtl.data._noise_of import Noise

logger = logging.getLogger(__name__)

_BLOCK = 1 << 22
_LARGEST_LOG = 25
_LARGEST_COUNT = 2**53  # beyond, not even float64 tells whole numbers apart
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_SHARE_OF_COUNTS = 0.25  # whole numbers among positive values; of logarithms hardly one is whole


def check_counts(
    matrix: Any, *, name: str = "adata.X", hint: str = "", noise: Noise = "umi"
) -> Recognised:
    """Refuse a matrix without raw counts; return the noise model and what the values speak for.

    Of a sparse matrix only stored values are read. The hint says where the counts may be instead.
    """
    from scipy.sparse import issparse

    check_noise(noise)
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
    values = matrix.data if issparse(matrix) else matrix
    smallest, largest, whole = _extremes(values)
    advice = f"scdtl needs raw counts (whole molecules, nothing below zero). {hint}".rstrip()
    if np.isnan(smallest):
        raise ValueError(f"{name} contains NaN: {advice}")
    if largest > _LARGEST_FLOAT32 or smallest < -_LARGEST_FLOAT32:
        raise ValueError(f"{name} contains infinite values: {advice}")
    if largest > _LARGEST_COUNT:
        raise ValueError(f"{name} contains {largest:g}, which is not a count: {advice}")
    if smallest < 0:
        raise ValueError(
            f"{name} contains negative values (smallest {smallest:g}), as after scaling or batch "
            f"correction: {advice}"
        )
    if noise == "auto":
        found = recognised(evidence_of(matrix))
    else:
        found = Recognised(noise, "as asked for", {})
    if whole or (found.noise == "reads" and largest >= _LARGEST_LOG):
        return found
    if evidence_of(matrix)["whole"] > _SHARE_OF_COUNTS:
        raise ValueError(
            f"{name} contains fractions of molecules, as alevin-fry, STARsolo (EM) and SoupX give "
            f'them: round them with adata.layers["counts"] = numpy.rint({name}), then '
            'layer="counts". If they are reads or TPM, say so with noise="reads".'
        )
    kind = "log-normalised" if largest < _LARGEST_LOG else "normalised or corrected"
    raise ValueError(
        f"{name} contains values that are not integers (largest {largest:g}); "
        f"it looks {kind}: {advice} Reads, TPM and the like, on a linear scale, are taken with "
        'noise="reads".'
    )


def canonical_csr(matrix: Any) -> csr_matrix:
    """Give checked counts as CSR of float32: sorted, no duplicates, no stored zeros.

    It shares memory with a matrix that is of this kind already, and leaves any other as it is.
    """
    from scipy.sparse import csr_matrix, issparse

    # First the type: duplicates are summed in it, and SciPy has no sparse half precision.
    counts = csr_matrix(matrix.astype(np.float32, copy=False))
    shared = issparse(matrix) and np.may_share_memory(counts.data, matrix.data)
    # A second look at the arrays themselves: the flags of the user's matrix may be out of date.
    counts = csr_matrix((counts.data, counts.indices, counts.indptr), shape=counts.shape)
    if not counts.has_canonical_format or (counts.data.size and not counts.data.all()):
        counts = counts.copy() if shared else counts
        counts.sum_duplicates()
        counts.eliminate_zeros()
    return counts


def count_matrix(adata: AnnData, layer: str | None) -> tuple[Any, str]:
    """The matrix that holds the counts, of whatever kind, and what messages call it."""
    if layer is None:
        if adata.X is None:
            raise ValueError(f"adata.X is None. {other_matrices(adata, layer)}".rstrip())
        return adata.X, "adata.X"
    if layer not in adata.layers:
        raise KeyError(
            f"layer {layer!r} is not in adata.layers; there are: {listed(layer_names(adata))}."
        )
    return adata.layers[layer], f"adata.layers[{layer!r}]"


def other_matrices(adata: AnnData, layer: str | None) -> str:
    """Where else in `adata` the counts are, as advice."""
    others = [
        f"layer={name!r}"
        for name in layer_names(adata)
        if name != layer and not is_own_layer(adata, name) and _may_hold_counts(adata.layers[name])
    ]
    if layer is not None and adata.X is not None and _may_hold_counts(adata.X):
        others.append("layer=None for adata.X")
    if others:
        return f"If they are in another layer, pass {' or '.join(others)}."
    raw = adata.raw
    if raw is not None and _may_hold_counts(raw.X) and adata.var_names.isin(raw.var_names).all():
        return (
            "adata.raw has them: adata.layers['counts'] = adata.raw[:, adata.var_names].X, then "
            "layer='counts'."
        )
    return "If they are elsewhere, put them into a layer and pass its name as layer=."


def is_own_result(entry: object) -> bool:
    """Whether an entry of ``uns`` is one that :func:`scdtl.pp.impute` wrote."""
    params = entry.get("params") if isinstance(entry, Mapping) else None
    return isinstance(params, Mapping) and {"scale", "replace"} <= params.keys()


def is_own_layer(adata: AnnData, name: str) -> bool:
    """Whether :func:`scdtl.pp.impute` wrote a layer."""
    keys = (name.removesuffix(ending) for ending in LAYER_ENDINGS)
    return any(is_own_result(adata.uns.get(key)) for key in keys)


def _may_hold_counts(matrix: Any) -> bool:
    """Whether a matrix holds counts, or is not in memory, so that only a reader could tell."""
    from scipy.sparse import issparse

    if not (issparse(matrix) or isinstance(matrix, np.ndarray)):
        return True
    try:
        check_counts(matrix)
    except (TypeError, ValueError):
        return False
    return True


def _extremes(values: np.ndarray) -> tuple[float, float, bool]:
    """Smallest and largest value (NaN if there is one) and whether all are whole numbers."""
    if not values.size:
        return 0.0, 0.0, True
    flat = np.asarray(values).ravel(order="K")
    blocks = np.array_split(flat, 1 + flat.size // _BLOCK)  # so that it takes little memory
    whole = flat.dtype.kind != "f" or all(np.array_equal(x, np.rint(x)) for x in blocks)
    return float(flat.min()), float(flat.max()), whole


def note_oddities(counts: csr_matrix, noise: str = "umi") -> None:
    """Warn of cells and genes without counts, and of values that are not UMI counts."""
    n_stored = np.diff(counts.indptr)
    n_cells = int((n_stored == 0).sum())
    if n_cells:
        logger.warning("%d cells have no counts: their imputed values stay zero.", n_cells)
    detected = np.zeros(counts.shape[1], dtype=bool)
    detected[counts.indices] = True
    n_genes = int((~detected).sum())
    if n_genes:
        logger.debug("%d genes have no counts: their imputed values stay zero.", n_genes)
    if noise == "umi" and counts.nnz:
        found = recognised(evidence_of(counts))
        if found.noise == "reads":
            logger.warning(
                "The counts are whole numbers, but do not look like UMI counts: %s, as in reads "
                "or rounded TPM. Treated as UMIs, their noise is taken for signal, and scores and "
                "trusted genes are meaningless: set noise='reads', or provide UMI counts.",
                found.why,
            )


def listed(names: Any, most: int = 5) -> str:
    """The first of some names, for a message."""
    names = [str(name) for name in names]
    if not names:
        return "none"
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
