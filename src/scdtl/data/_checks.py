"""Checks of the user's input, before any work and without a change to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scdtl._constants import LAYER_ENDINGS
from scdtl.data._batches import check_batches
from scdtl.data._counts import find_counts
from scdtl.data._features import is_gene
from scdtl.data._raw_counts import is_own_result, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    from scdtl.data._noise_of import Noise, Recognised

_NOTHING = object()  # None is what a user may give


def check_input(
    adata: AnnData, *, layer: str | None, batch_key: str | None = None, noise: Noise = "umi"
) -> tuple[csr_matrix, Recognised]:
    """Check the data of a function that writes no layer; return counts of the genes and noise.

    The counts are as :func:`canonical_csr` gives them: don't write into them.
    """
    genes = check_names(adata, layer=layer, batch_key=batch_key)
    found, recognised = find_counts(adata, layer, genes, noise).resolved()
    return found.checked(), recognised


def check_names(
    adata: AnnData,
    *,
    layer: str | None,
    batch_key: str | None = None,
    key_added: object = _NOTHING,
    genes: Sequence[str] | None = None,
    may_be_backed: bool = False,
    may_be_view: bool = True,
) -> np.ndarray:
    """Check all input except the counts; return for each feature whether it is a gene."""
    check_anndata(adata, may_be_backed=may_be_backed, may_be_view=may_be_view)
    _check_batch_key(adata, batch_key)
    if key_added is not _NOTHING:
        _check_key_added(adata, key_added, layer)
    of_genes = is_gene(adata)
    _check_genes(genes, adata.var_names, of_genes)
    return of_genes


def check_numbers(*, random_state: int, batch_size: int, max_epochs: int | None) -> None:
    """Refuse invalid numbers for training."""
    numbers = {"random_state": (random_state, 0), "batch_size": (batch_size, 1)}
    if max_epochs is not None:
        numbers["max_epochs"] = (max_epochs, 0)
    for name, (number, least) in numbers.items():
        if not isinstance(number, int) or number < least:
            raise ValueError(f"{name} must be a whole number, {least} or more; got {number!r}.")
    if random_state >= 2**64:
        raise ValueError(f"random_state must be below 2**64; got {random_state!r}.")


def check_anndata(
    adata: AnnData, *, may_be_backed: bool = False, may_be_view: bool = True
) -> None:
    """Refuse anything but an AnnData with cells, genes and unique gene names."""
    from anndata import AnnData

    if not isinstance(adata, AnnData):
        raise TypeError(
            f"adata must be an AnnData, not {type(adata).__name__}: {_as_anndata(adata)}."
        )
    if adata.is_view and not may_be_view:
        own = "adata.to_memory()" if adata.isbacked else "adata.copy()"
        raise ValueError(
            "adata is a view of another AnnData, which results can't be written to: make it an "
            f"object of its own first with adata = {own}."
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
            f"adata.var_names are not unique ({listed(repeated)}): "
            "call adata.var_names_make_unique() first."
        )


def check_has(adata: AnnData, layer: str | None, obs_keys: Iterable[str]) -> None:
    """Refuse data that lack what a model was set up to read."""
    if layer is not None and layer not in adata.layers:
        raise KeyError(f"the model reads adata.layers[{layer!r}], which adata lacks.")
    for key in obs_keys:
        if key not in adata.obs:
            raise KeyError(f"the model reads adata.obs[{key!r}], which adata lacks.")


def _as_anndata(data: Any) -> str:
    """How to get an AnnData from something else."""
    modalities = getattr(data, "mod", None)
    if isinstance(modalities, Mapping):
        name = "rna" if "rna" in modalities else next(iter(modalities), "rna")
        return f"choose the modality with the RNA counts, as mdata[{name!r}]"
    return "wrap a cells × genes matrix as anndata.AnnData(matrix, obs=..., var=...)"


def _check_batch_key(adata: AnnData, batch_key: str | None) -> None:
    if batch_key is None:
        return
    if batch_key not in adata.obs:
        raise KeyError(
            f"batch_key {batch_key!r} is not a column of adata.obs; "
            f"there are: {listed(adata.obs.columns)}."
        )
    check_batches(adata.obs[batch_key], batch_key)


def _check_key_added(adata: AnnData, key_added: object, layer: str | None) -> None:
    if not isinstance(key_added, str) or not key_added:
        raise TypeError(f"key_added must be a name (str) for the new layer, not {key_added!r}.")
    if "/" in key_added:
        raise ValueError(f"key_added={key_added!r} has a slash, which files can't keep in names.")
    if key_added == layer:
        raise ValueError(
            f"layer and key_added are both {layer!r}, which would overwrite the counts: "
            "choose another key_added."
        )
    written = [
        *(("layers", key_added + ending) for ending in LAYER_ENDINGS),
        ("obsm", f"X_{key_added}"),
        ("var", f"{key_added}_in_bulk"),
        ("var", f"{key_added}_trust"),
        ("var", f"{key_added}_trusted"),
        ("uns", key_added),
    ]
    taken = [f"adata.{slot}[{key!r}]" for slot, key in written if key in getattr(adata, slot)]
    if taken and not is_own_result(adata.uns.get(key_added)):
        raise ValueError(
            f"{' and '.join(taken)} would be overwritten, and adata.uns[{key_added!r}] does not "
            "say that scdtl wrote them (anndata.concat drops uns). Delete them first (del "
            f"{', '.join(taken)}), or choose another key_added."
        )


def check_list(genes: Sequence[str] | None) -> None:
    """Refuse what is not a list of different names, or ``None``."""
    if genes is None:
        return
    if isinstance(genes, str):
        raise TypeError(f"genes must be a list of gene names: write genes=[{genes!r}].")
    names = list(genes)
    if not names:
        raise ValueError("genes is empty: name at least one gene, or leave it out for all.")
    if len(set(names)) < len(names):
        raise ValueError("genes names some genes more than once: give each one once.")


def _check_genes(genes: Sequence[str] | None, features: pd.Index, is_gene: np.ndarray) -> None:
    check_list(genes)
    if genes is None:
        return
    names = list(genes)
    unknown = [gene for gene in names if gene not in features]
    if unknown:
        raise KeyError(
            f"{len(unknown)} of {len(names)} genes are not in adata.var_names: "
            f"{listed(unknown)}. The names there look like {listed(features)}."
        )
    of_genes = features[is_gene]
    others = [name for name in names if name not in of_genes]
    if others:
        raise ValueError(
            f"genes lists features that are not genes by var['feature_types']: {listed(others)}."
        )
