"""Users' bulk samples: checked expression, and the names of their genes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scdtl.data._raw_counts import listed
from scdtl.genes._names import read_name

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

_MIN_SAMPLES = 3
_FEW_SAMPLES = 30
_LARGEST_LOG = 25
# As GTF files, tximport, scanpy, 10x, CELLxGENE and biomaRt call them.
_SYMBOLS = (
    "gene_name",
    "gene_names",
    "gene_symbol",
    "gene_symbols",
    "symbol",
    "symbols",
    "feature_name",
    "hgnc_symbol",
    "external_gene_name",
)
_ENSEMBL_IDS = ("ensembl_id", "gene_ids", "gene_id", "ensembl", "ensembl_gene_id", "ensgene")


def dense(matrix: Any, name: str = "bulk.X") -> np.ndarray:
    """Expression as an array of float32, NaN where it was not measured."""
    if isinstance(matrix, np.ma.MaskedArray):
        matrix = np.where(matrix.mask, np.nan, matrix.data)
    if sparse.issparse(matrix):
        matrix = matrix.toarray()
    if matrix is None:
        raise ValueError(f"{name} is None: it must hold the expression, samples × genes.")
    if not isinstance(matrix, np.ndarray):
        raise TypeError(
            f"{name} is not in memory ({type(matrix).__name__}): load it first with "
            "bulk = bulk.to_memory()."
        )
    if matrix.dtype.kind not in "buifO":
        raise TypeError(f"{name} is of dtype {matrix.dtype}, but expression is numbers.")
    try:
        return np.ascontiguousarray(matrix, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} holds values that are not numbers: {error}.") from error


def shared_genes(expression: np.ndarray) -> np.ndarray:
    """For each gene whether all samples measured it; all genes if these are silent in a sample.

    Proportions are of them: a study without the most abundant genes would raise its others.
    """
    shared = ~np.isnan(expression).any(0)
    is_enough = (expression[:, shared] > 0).any(1).all()
    return shared if is_enough else np.ones_like(shared)


def check_bulk(adata: AnnData, layer: str | None) -> None:
    """Refuse bulk samples on which no network can be trained."""
    check_names(adata)
    if layer is None:
        expression = dense(adata.X)
    else:
        expression = dense(adata.layers[layer], f"bulk.layers[{layer!r}]")
    if adata.n_obs < _MIN_SAMPLES:
        raise ValueError(
            f"{adata.n_obs} bulk samples are too few: at least {_MIN_SAMPLES} are needed."
        )
    if np.isinf(expression).any() or np.nanmin(expression, initial=0) < 0:
        raise ValueError(
            "Bulk expression must be finite and not negative (counts, TPM or FPKM); it goes from "
            f"{np.nanmin(expression):g} to {np.nanmax(expression):g}."
        )
    empty = np.flatnonzero(~(expression > 0).any(axis=1))
    if len(empty):
        raise ValueError(
            f"{len(empty)} of {adata.n_obs} bulk samples have no expression, only zeros or NaN "
            f"({listed(adata.obs_names[empty])}): leave them out with "
            "bulk = bulk[bulk.to_df().sum(axis=1) > 0].copy()."
        )
    if np.nanmax(expression) < _LARGEST_LOG:
        raise ValueError(
            f"The largest bulk value is below {_LARGEST_LOG}: this looks like logarithms. Give "
            "counts, TPM or FPKM on a linear scale; log1p is undone by "
            "bulk.X = np.expm1(bulk.X)."
        )
    if adata.n_obs < _FEW_SAMPLES:
        logger.warning(
            "There are only %d bulk samples, from which a network learns little about which genes "
            "go together. Released weights will often help more, unless the samples are of the "
            "same cell types as your cells.",
            adata.n_obs,
        )


def check_names(adata: AnnData) -> None:
    """Refuse bulk samples whose genes share names."""
    if not adata.var_names.is_unique:
        repeated = adata.var_names[adata.var_names.duplicated()].unique()
        raise ValueError(
            f"Gene names of the bulk samples are not unique ({listed(repeated)}). Call "
            "bulk.var_names_make_unique(), which leaves the name to the first of each, or sum "
            "them: bulk = anndata.AnnData(bulk.to_df().T.groupby(level=0).sum(min_count=1).T, "
            "obs=bulk.obs)."
        )


def gene_names(var: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Symbols of the genes, each one once, and Ensembl ids, empty where unknown.

    The index has one of the two, and a column may have the other.
    """
    names = [str(name) for name in var.index]
    if 2 * sum(bool(read_name(name).ensembl_id) for name in names) <= len(names):
        return names, _column(var, _ENSEMBL_IDS)
    symbols = pd.Series(_column(var, _SYMBOLS))
    known = (symbols != "") & ~symbols.duplicated() & ~symbols.isin(names)
    return symbols.where(known, pd.Series(names)).tolist(), names


def _column(var: pd.DataFrame, known_as: tuple[str, ...]) -> list[str]:
    """The first of some columns that there is, as text; empty without any."""
    for name in known_as:
        if name in var:
            return ["" if pd.isna(value) else str(value) for value in var[name]]
    return [""] * len(var)
