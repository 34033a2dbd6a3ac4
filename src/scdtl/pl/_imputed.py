"""What figures read from the user's AnnData, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData


def results(adata: AnnData, key: str) -> Mapping[str, Any]:
    """Return what :func:`scdtl.pp.impute` left in ``adata.uns``."""
    if key not in adata.uns:
        raise KeyError(
            f"no results named {key!r} in adata.uns: run scdtl.pp.impute first, or give the name "
            "that was its key_added as key=."
        )
    entry = adata.uns[key]
    if not (isinstance(entry, Mapping) and {"params", "history"} <= entry.keys()):
        raise KeyError(
            f"adata.uns[{key!r}] did not come from scdtl.pp.impute: give the name that was its "
            "key_added as key=."
        )
    return entry


def part_of_results(adata: AnnData, slot: str, name: str) -> Any:
    """Return a layer or a column of ``var`` that :func:`scdtl.pp.impute` wrote."""
    if name not in getattr(adata, slot):
        raise KeyError(
            f"{name!r} is no longer in adata.{slot}, where scdtl.pp.impute had written it: run "
            "it again."
        )
    return getattr(adata, slot)[name]


def counts_of(adata: AnnData, entry: Mapping[str, Any], layer: str | None) -> Any:
    """Return the raw counts, dense or sparse as they are."""
    from scdtl.data._raw_counts import check_counts, count_matrix  # which import torch

    matrix, name = count_matrix(adata, entry["params"].get("layer") if layer is None else layer)
    check_counts(matrix, name=name, hint="If they are in another layer by now, name it as layer=.")
    return matrix


def columns_of(names: pd.Index, genes: Sequence[str]) -> np.ndarray:
    """Return the position of each gene."""
    import pandas as pd

    if isinstance(genes, str):
        raise TypeError(f"genes must be a list of gene names: write genes=[{genes!r}].")
    if len(genes) == 0:
        raise ValueError("genes is empty: name at least one gene.")
    position = names.get_indexer(pd.Index(genes))
    if (position < 0).any():
        unknown = [gene for gene, at in zip(genes, position, strict=True) if at < 0]
        raise KeyError(
            f"{len(unknown)} of {len(genes)} genes are not known: "
            f"{', '.join(map(repr, unknown[:5]))}{', ...' if len(unknown) > 5 else ''}. "
            f"Names look like {', '.join(map(repr, names[:3]))}."
        )
    return position


def check_imputed(params: Mapping[str, Any], genes: Sequence[str]) -> None:
    """Refuse genes that :func:`scdtl.pp.impute` was not asked for."""
    written = params.get("genes")
    left_out = [] if written is None else [gene for gene in genes if gene not in set(written)]
    if left_out:
        raise KeyError(
            f"{', '.join(map(repr, left_out))} was not written by scdtl.pp.impute, which was "
            "asked for some genes only: run it again with genes=None or with these among them."
        )


def column(matrix: Any, position: int) -> np.ndarray:
    """Return one column of a dense or sparse matrix as a dense vector."""
    values = matrix[:, [position]]
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values).ravel()
