"""bulk="auto": those of the weights on this machine that predict the cells best."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scdtl._random import local_seed
from scdtl.data._cell_order import sampled_cells
from scdtl.data._gene_order import gene_keys
from scdtl.data._raw_counts import listed
from scdtl.model._bulk_weights import as_weights
from scdtl.model._transfer import matches_of
from scdtl.pp._training import trained_model
from scdtl.pretrained import info, load_weights
from scdtl.pretrained._registry import read_registry

if TYPE_CHECKING:
    from scdtl.pp._training import Cells
    from scdtl.pretrained import BulkWeights

logger = logging.getLogger(__name__)

AUTO = "auto"
_N_CELLS = 512


def weights_for(bulk: Any, cells: Cells, verbose: bool | None) -> BulkWeights:
    """Bulk weights from any kind of ``bulk=`` argument but ``None``."""
    if isinstance(bulk, str) and bulk == AUTO:
        return _best(cells)
    return as_weights(bulk, cells.genes, verbose)


def _best(cells: Cells) -> BulkWeights:
    """Let the weights on this machine compete, untrained, on held-out data of some cells.

    Raises
    ------
    ValueError
        If none of them knows the genes.
    """
    with local_seed(0):  # what comes is as with the weights named
        few = _some(cells.for_training(None, _N_CELLS))
    scored: list[tuple[float, BulkWeights]] = []
    for name in read_registry():
        if not info(name)["local"]:
            continue
        weights = load_weights(name)
        try:
            matches_of(weights, few.genes)
        except ValueError:  # of another species
            continue
        with local_seed(0):  # the same data are held out for all
            model = trained_model(few, weights, None, {}, {"max_epochs": 0, "accelerator": "cpu"})
        scored.append((float(np.nan_to_num(model.held_out_["deviance_explained"])), weights))
    if not scored:
        raise ValueError(
            "bulk='auto': none of the weights on this machine know these genes "
            f"({listed(few.genes, 3)}). Give symbols or Ensembl ids in adata.var_names, or your "
            "own bulk samples as bulk=; scdtl.pp.impute also takes bulk=None."
        )
    told = ", ".join(f"{weights.name!r} {100 * score:.2f} %" for score, weights in scored)
    _, best = max(scored, key=lambda pair: pair[0])
    logger.info(
        "bulk='auto': %r is taken. Deviance of held-out data explained before training: %s.",
        best.name,
        told,
    )
    return best


def _some(cells: Cells) -> Cells:
    """At most 512 of them, whatever their order."""
    keys = gene_keys(list(cells.genes))
    n_batch = len(cells.batches.categories)
    rows = sampled_cells(cells.counts, cells.batch_index, keys, 0, _N_CELLS, n_batch)
    return replace(
        cells,
        counts=cells.counts[rows],
        batches=cells.batches[rows],
        names=cells.names[rows],
        sample=None,
    )
