"""Features that are genes, and those that are not: antibodies, peaks, guides, hashtags."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

logger = logging.getLogger(__name__)

COLUMN = "feature_types"
_GENES = ("Gene Expression", "GEX")  # as Cell Ranger and the multi-omics data of NeurIPS say


def is_gene(adata: AnnData) -> np.ndarray:
    """For each feature whether it is a gene; all are where ``var["feature_types"]`` has none."""
    if COLUMN not in adata.var:
        return np.ones(adata.n_vars, dtype=bool)
    genes = np.isin(np.asarray(adata.var[COLUMN]).astype(str), _GENES)
    return genes if genes.any() else np.ones(adata.n_vars, dtype=bool)


def genes_only(adata: AnnData) -> AnnData:
    """The genes of `adata`: `adata` itself, or a view without the other features."""
    genes = is_gene(adata)
    return adata if genes.all() else adata[:, genes]


def note_other_features(var: pd.DataFrame, genes: np.ndarray) -> None:
    """Warn of features that are left out because they are not genes."""
    if not genes.all():
        kinds = sorted(set(np.asarray(var[COLUMN]).astype(str)[~genes]))
        logger.warning(
            "%d features are not genes (var['feature_types']: %s) and are left out; in the "
            "imputed layer they are zero.",
            int((~genes).sum()),
            ", ".join(kinds),
        )


def refuse_other_features(adata: AnnData) -> None:
    """Refuse data with features that are not genes."""
    genes = is_gene(adata)
    if not genes.all():
        raise ValueError(
            f"{int((~genes).sum())} features of adata are not genes: select the genes, as in "
            f"adata[:, adata.var[{COLUMN!r}] == {adata.var[COLUMN][genes].iloc[0]!r}].copy()."
        )
