"""Matching a data set's gene names to those of bulk weights."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENSEMBL = re.compile(r"^(ENS[A-Z]*G\d{11})(\.\d+)?$")
MIN_MATCHED_FRACTION = 0.1


def match_genes(
    names: Sequence[str], symbols: Sequence[str], ensembl_ids: Sequence[str]
) -> np.ndarray:
    """Positions of a data set's genes among the genes of bulk weights.

    Parameters
    ----------
    names
        Gene names of the data: symbols, or Ensembl gene ids with or without version.
    symbols, ensembl_ids
        Names of the genes of the weights.

    Returns
    -------
    Integers, one per name; -1 where the weights do not know the gene. A bulk gene serves one
    name only, the first.

    Raises
    ------
    ValueError
        If less than 10 % of the names match.

    Examples
    --------
    >>> from scdtl.pretrained import match_genes
    >>> match_genes(["CD3D", "ENSG00000010610.10"], ["CD4", "CD3D"], ["ENSG00000010610", ""])
    array([1, 0])
    """
    position = {name: i for i, name in enumerate(ensembl_ids) if name}
    position |= {name: i for i, name in enumerate(symbols)}
    matched = np.array([position.get(_without_version(name), -1) for name in names], dtype=int)
    first = np.zeros(len(matched), dtype=bool)
    first[np.unique(matched, return_index=True)[1]] = True
    matched[~first] = -1
    n_matched = int((matched >= 0).sum())
    if n_matched < MIN_MATCHED_FRACTION * len(matched):
        raise ValueError(
            f"Only {n_matched} of {len(matched)} gene names match the bulk weights. "
            f"The names look like {_describe(names)} (first: {', '.join(map(str, names[:3]))}); "
            f"the weights know symbols ({', '.join(symbols[:3])}, ...) and Ensembl gene ids. Set "
            "adata.var_names to one of these, pass weights of your species, or bulk=None."
        )
    return matched


def _without_version(name: str) -> str:
    ensembl = _ENSEMBL.match(name)
    return ensembl.group(1) if ensembl else name


def _describe(names: Sequence[str]) -> str:
    """Say in words which naming most of the names follow."""
    patterns = {
        "Ensembl transcript ids": r"^ENS[A-Z]*T\d{11}",
        "Ensembl gene ids of human": r"^ENSG\d{11}",
        "Ensembl gene ids of another species": r"^ENS[A-Z]+G\d{11}",
        "Entrez ids or plain numbers": r"^\d+$",
        "mouse symbols (Capitalised)": r"^[A-Z][a-z0-9]+[a-z0-9-]*$",
        "upper-case symbols": r"^[A-Z][A-Z0-9.-]+$",
    }
    for description, pattern in patterns.items():
        if sum(bool(re.match(pattern, name)) for name in names) > len(names) / 2:
            return description
    return "names of no naming that scdtl knows"
