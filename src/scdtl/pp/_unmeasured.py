"""impute_unmeasured(): genes that the data lack and bulk knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd
from anndata import AnnData

from scdtl._constants import DEFAULT_KEY
from scdtl._random import local_seed
from scdtl.data._checks import check_input, check_list, check_numbers
from scdtl.data._counts import find_counts
from scdtl.data._features import genes_only
from scdtl.data._raw_counts import listed
from scdtl.model._transfer import matches_of
from scdtl.model._unmeasured import Genes, Unmeasured
from scdtl.pp._auto import AUTO, weights_for
from scdtl.pp._impute import impute
from scdtl.pp._limits import check_memory
from scdtl.pp._provenance import python_numbers, recorded
from scdtl.pp._training import read_cells

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scipy.sparse import csr_matrix

    from scdtl.data._noise_of import Noise
    from scdtl.model import SCDTL, BulkDAE
    from scdtl.pretrained import BulkWeights

_BYTES_PER_VALUE = 4 * 4


def impute_unmeasured(
    adata: AnnData,
    genes: Sequence[str] | None = None,
    *,
    layer: str | None = None,
    noise: Noise = "auto",
    bulk: str | Path | BulkDAE | BulkWeights | AnnData = AUTO,
    batch_key: str | None = None,
    scale: Literal["log1p", "normalized"] = "log1p",
    max_epochs: int | None = None,
    batch_size: int = 64,
    accelerator: str = "auto",
    random_state: int = 0,
    verbose: bool | None = None,
    model_kwargs: dict[str, Any] | None = None,
    train_kwargs: dict[str, Any] | None = None,
) -> AnnData:
    """Impute genes that were not measured, from those that were and from bulk.

    For targeted panels (MERFISH, Xenium, CosMx, seqFISH, STARmap, BD Rhapsody) and for genes that
    a platform misses. :class:`scdtl.SCDTL` is trained on the measured genes; a cell's position
    among the components of bulk co-expression follows from them, and the other genes from that.

    Bulk knows which genes go together, not what is particular to your cells: most genes are
    predicted only roughly. ``var["expected_r"]`` says how far to believe each one.

    Parameters
    ----------
    adata
        Cells × genes with raw counts, in memory; stays as it is.
    genes
        Genes to impute, by any name that is recognised in ``var_names``: symbol, Ensembl id, alias
        or ortholog. ``None`` for all that the weights know and the data lack, by the weights'
        names.
    layer, noise
        As in :func:`scdtl.pp.impute`.
    bulk
        As in :func:`scdtl.pp.impute`, but weights of version 0.1 do not suffice, as they hold no
        co-expression. ``"auto"`` takes the weights on this machine that predict the measured genes
        best.
    batch_key
        As in :func:`scdtl.pp.impute`.
    scale
        ``"log1p"``: log1p of counts per 10,000 counts of all genes that bulk knows;
        ``"normalized"``: without the logarithm. The mean of a gene over all cells is that of bulk:
        compare cells, not genes.
    max_epochs, batch_size, accelerator, random_state, verbose, model_kwargs, train_kwargs
        As in :func:`scdtl.pp.impute`.

    Returns
    -------
    A new AnnData, cells × unmeasured genes, with the same ``obs`` and ``obsm``, and

    ``X``
        Imputed expression, float32.
    ``var["expected_r"]``
        Correlation over cells that the prediction is expected to reach with a measurement of the
        gene as deep as that of the others. Learned from the measured genes, each predicted from
        the others; NaN if fewer than 20 of them are in the weights.
    ``var["ensembl_id"]``
        Where the weights know it.
    ``uns["scdtl"]``
        As :func:`scdtl.pp.impute` writes it for the measured genes.

    Raises
    ------
    ValueError, TypeError, KeyError
        As by :func:`scdtl.pp.impute`; also if a gene in ``genes`` was measured or is unknown to
        the weights, or if the weights hold no co-expression.
    MemoryError
        If the result would not fit into memory.

    See Also
    --------
    scdtl.pp.impute : Imputes the genes that were measured.

    Examples
    --------
    >>> import scdtl
    >>> adata = scdtl.datasets.pbmc68k_counts()
    >>> panel = adata[:, :300].copy()
    >>> others = scdtl.pp.impute_unmeasured(panel, ["CD79A", "NKG7"], bulk="human", max_epochs=1)
    >>> others.shape
    (700, 2)
    """
    if scale not in ("log1p", "normalized"):
        raise ValueError(f"scale must be 'log1p' or 'normalized', not {scale!r}.")
    if bulk is None:
        raise ValueError(
            "bulk=None knows no genes but the measured ones: name weights, or leave it out."
        )
    max_epochs, batch_size, random_state = map(
        python_numbers, (max_epochs, batch_size, random_state)
    )
    params = recorded(impute_unmeasured, locals())
    check_list(genes)
    check_numbers(random_state=random_state, batch_size=batch_size, max_epochs=max_epochs)
    counts, _ = check_input(adata, layer=layer, batch_key=batch_key, noise=noise)
    filled = np.diff(counts.indptr) > 0
    if not filled.any():
        raise ValueError("No cell has counts: nothing can be predicted from them.")
    data = _counts_alone(adata, counts, batch_key)
    every = np.ones(data.n_vars, dtype=bool)
    found = find_counts(data, None, every, noise)
    cells, _ = read_cells(data, found, every, None, batch_key, batch_size)
    with local_seed(random_state):
        weights = weights_for(bulk, cells, verbose)
    position, names = _chosen(weights, cells.genes, genes)
    check_memory(adata.n_obs, len(position), _BYTES_PER_VALUE)

    model = impute(
        data,
        noise=noise,
        bulk=weights,
        batch_key=batch_key,
        genes=[cells.genes[0]],  # the layer is not needed
        max_epochs=max_epochs,
        batch_size=batch_size,
        accelerator=accelerator,
        random_state=random_state,
        return_model=True,
        verbose=verbose,
        model_kwargs=model_kwargs,
        train_kwargs=train_kwargs,
    )
    wanted, unmeasured = Genes.of(weights, position), Unmeasured(cast("SCDTL", model), weights)
    log_ratios = unmeasured.log_ratios(wanted)[filled]
    expected_r = unmeasured.expected_r(wanted, log_ratios)
    values = np.zeros((len(filled), len(names)), dtype=np.float32)  # of cells without counts
    values[filled] = np.float32(1e4) * wanted.rates(log_ratios)
    ensembl_ids = [weights.ensembl_ids[i] for i in position]
    result = AnnData(
        np.log1p(values, out=values) if scale == "log1p" else values,
        var=pd.DataFrame({"ensembl_id": ensembl_ids, "expected_r": expected_r}, index=names),
    )
    result.obs = adata.obs.copy()  # not above, where anndata minds repeated names of cells
    for key, value in adata.obsm.items():
        result.obsm[key] = value.copy()
    result.uns[DEFAULT_KEY] = data.uns[DEFAULT_KEY] | {"params": params}
    return result


def _counts_alone(adata: AnnData, counts: csr_matrix, batch_key: str | None) -> AnnData:
    """Counts and batches in an AnnData of their own, that results may be written to."""
    data = AnnData(counts, var=pd.DataFrame(index=genes_only(adata).var_names))
    data.obs = adata.obs[[] if batch_key is None else [batch_key]].copy()
    return data


def _chosen(
    weights: BulkWeights, measured: pd.Index, genes: Sequence[str] | None
) -> tuple[np.ndarray, list[str]]:
    """Genes wanted: their positions among those of the weights, and their names."""
    if not weights.n_components:
        raise ValueError(
            f"The weights {weights.name!r} hold no co-expression, as those of version 0.1: take "
            "bulk='human' or bulk='mouse', or train your BulkDAE again."
        )
    try:
        of_data = matches_of(weights, measured).position
    except ValueError as error:
        raise ValueError(
            f"The weights {weights.name!r} know hardly any of the measured genes "
            f"({listed(measured, 3)}): give symbols or Ensembl ids in adata.var_names, and "
            "weights of the same species as bulk=."
        ) from error
    if genes is None:
        position = np.setdiff1d(np.arange(len(weights.genes)), of_data)
        if not len(position):
            raise ValueError(
                f"All genes that the weights {weights.name!r} know were measured: "
                "scdtl.pp.impute imputes them."
            )
        return position, [weights.genes[i] for i in position]
    # Beside the measured genes, which tell of what species the names are.
    matches = matches_of(weights, [*measured, *genes])
    position, kind = matches.position[len(measured) :], matches.kind[len(measured) :]
    is_measured = np.isin(position, of_data[of_data >= 0]) | (kind == "duplicate")
    names = np.array(genes, dtype=object)
    if is_measured.any():
        raise ValueError(
            f"{listed(names[is_measured])} were measured, or named twice: leave them out here; "
            "scdtl.pp.impute imputes measured genes."
        )
    if (position < 0).any():
        raise ValueError(
            f"The weights {weights.name!r} do not know {listed(names[position < 0])}: leave them "
            "out, or leave out genes= for all that they know."
        )
    return position, list(names)
