"""impute_unmeasured(): genes that the data lack and bulk knows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from scdtl._random import local_seed
from scdtl.data._checks import check_names
from scdtl.data._counts import find_counts
from scdtl.data._raw_counts import listed
from scdtl.model import SCDTL
from scdtl.model._bulk_weights import as_weights
from scdtl.model._transfer import matches_of
from scdtl.model._unmeasured import Genes, Unmeasured
from scdtl.pp._auto import AUTO, best_weights
from scdtl.pp._impute import impute
from scdtl.pp._limits import check_memory
from scdtl.pp._training import read_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scdtl.data._noise_of import Noise
    from scdtl.model import BulkDAE
    from scdtl.pretrained import BulkWeights

_KEY = "scdtl"


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

    Bulk knows which genes go together, not what is particular to these cells: most genes are
    predicted only roughly. ``var["expected_r"]`` says how far to believe each one.

    Parameters
    ----------
    adata
        Cells × genes with raw counts, in memory; stays as it is.
    genes
        Genes to impute, as the weights name them; ``None`` for all that they know and the data
        lack.
    layer, noise, batch_key
        As in :func:`scdtl.pp.impute`.
    bulk
        As in :func:`scdtl.pp.impute`, but weights of version 0.1 do not know enough. ``"auto"``
        takes those of the weights on this machine that predict the measured genes best.
    scale
        ``"log1p"``: log1p of counts per 10,000 counts of all genes that bulk knows;
        ``"normalized"``: without the logarithm. The mean of a gene over all cells is that of bulk:
        compare cells, not genes.
    max_epochs, batch_size, accelerator, random_state, model_kwargs, train_kwargs
        As in :func:`scdtl.pp.impute`.
    verbose
        Show progress bars; ``None`` does unless ``scdtl.settings.verbosity`` is above
        ``"warning"``.

    Returns
    -------
    A new AnnData, cells × unmeasured genes, with the same ``obs`` and ``obsm``, and

    ``X``
        Imputed expression, float32.
    ``var["expected_r"]``
        Correlation over cells that the prediction is expected to reach with a measurement of the
        gene as deep as that of the others. Learned from measured genes, each predicted from
        others; NaN where fewer than 20 of them can tell.
    ``var["ensembl_id"]``
        Where the weights know it.
    ``uns["scdtl"]``
        As :func:`scdtl.pp.impute` writes it for the measured genes.

    Raises
    ------
    ValueError, TypeError, KeyError
        As by :func:`scdtl.pp.impute`; or if the weights do not know a gene that is asked for, it
        was measured, or the weights hold no co-expression.
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
        raise ValueError("bulk=None knows no genes but the measured ones: name weights.")
    data = _counts_alone(adata, layer)
    if isinstance(bulk, str) and bulk == AUTO:
        weights = _best(data, layer, batch_key, noise, batch_size, random_state)
    else:
        weights = as_weights(bulk, adata.var_names, verbose)
    position = _positions(weights, adata.var_names, genes)
    check_memory(adata.n_obs, len(position), 4 * 3)

    model = impute(
        data,
        layer=layer,
        noise=noise,
        bulk=weights,
        batch_key=batch_key,
        key_added=_KEY,
        genes=list(adata.var_names[:1]),  # the layer is not needed
        max_epochs=max_epochs,
        batch_size=batch_size,
        accelerator=accelerator,
        random_state=random_state,
        return_model=True,
        verbose=verbose,
        model_kwargs=model_kwargs,
        train_kwargs=train_kwargs,
    )
    assert isinstance(model, SCDTL)  # for the type checker
    wanted, unmeasured = Genes.of(weights, position), Unmeasured(model, weights)
    log_ratios = unmeasured.log_ratios(wanted)
    expected_r = unmeasured.expected_r(wanted, log_ratios)
    values = np.float32(1e4) * wanted.rates(log_ratios)
    var = pd.DataFrame(
        {
            "ensembl_id": [weights.ensembl_ids[i] for i in position],
            "expected_r": expected_r,
        },
        index=[weights.genes[i] for i in position],
    )
    result = AnnData(
        np.log1p(values) if scale == "log1p" else values,
        obs=adata.obs.copy(),
        var=var,
        obsm={key: value.copy() for key, value in adata.obsm.items()},
    )
    entry = data.uns[_KEY]
    entry["params"] |= {"scale": scale, "genes": list(var.index)}
    if isinstance(bulk, str | Path):
        entry["params"]["bulk"] = str(bulk)
    result.uns[_KEY] = entry
    return result


def _best(
    adata: AnnData,
    layer: str | None,
    batch_key: str | None,
    noise: Noise,
    batch_size: int,
    random_state: int,
) -> BulkWeights:
    is_gene = check_names(adata, layer=layer, batch_key=batch_key, key_added=_KEY, genes=None)
    found = find_counts(adata, layer, is_gene, noise)
    cells, _ = read_cells(adata, found, is_gene, layer, batch_key, batch_size)
    with local_seed(random_state):
        return best_weights(cells)


def _counts_alone(adata: AnnData, layer: str | None) -> AnnData:
    """The same counts in an AnnData of its own, that results may be written to."""
    layers = {layer: adata.layers[layer]} if layer in adata.layers else {}
    counts = adata.X if layer is None else None
    return AnnData(counts, obs=adata.obs.copy(), var=adata.var.copy(), layers=layers)


def _positions(
    weights: BulkWeights, measured: pd.Index, genes: Sequence[str] | None
) -> np.ndarray:
    """Positions of the genes wanted among those of the weights."""
    if not weights.n_components:
        raise ValueError(
            f"The weights {weights.name!r} hold no co-expression, as those of version 0.1: take "
            "bulk='human' or 'mouse', or export your BulkDAE again."
        )
    of_data = matches_of(weights, measured).position
    if genes is None:
        return np.setdiff1d(np.arange(len(weights.genes)), of_data)
    place = {name: i for i, name in enumerate(weights.genes)}
    if unknown := [name for name in genes if name not in place]:
        raise ValueError(
            f"The weights {weights.name!r} do not know {listed(unknown)}: choose among "
            "scdtl.pretrained.load_weights(...).genes."
        )
    position = np.array([place[name] for name in genes], dtype=int)
    if both := [name for name, i in zip(genes, position, strict=True) if i in set(of_data)]:
        raise ValueError(f"{listed(both)} were measured: impute them with scdtl.pp.impute.")
    return position
