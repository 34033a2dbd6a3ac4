"""bulk="auto": those of the weights on this machine that predict the cells best."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

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


def best_weights(cells: Cells) -> BulkWeights:
    """Let the weights on this machine compete, untrained, on held-out data of some cells.

    Raises
    ------
    ValueError
        If none of them knows the genes.
    """
    few = cells.for_training(None, _N_CELLS)
    rows = np.unique(np.linspace(0, len(few.names) - 1, _N_CELLS).astype(int))
    few = replace(
        few,
        counts=few.counts[rows],
        batches=few.batches[rows],
        names=few.names[rows],
        sample=None,
    )
    scores: dict[str, float] = {}
    for name in read_registry():
        weights = load_weights(name) if info(name)["local"] else None
        with suppress(ValueError):  # of another species
            if weights is None or not matches_of(weights, cells.genes).n_matched:
                continue
            model = trained_model(few, weights, None, {}, {"max_epochs": 0, "accelerator": "cpu"})
            scores[name] = float(np.nan_to_num(model.held_out_["deviance_explained"]))
    if not scores:
        raise ValueError(
            "bulk='auto': none of the weights on this machine knows these genes. Give your own "
            "bulk samples, or bulk=None to impute without."
        )
    best = max(scores, key=lambda name: scores[name])
    told = ", ".join(f"{name!r} explains {100 * score:.2f} %" for name, score in scores.items())
    logger.info("bulk='auto': of the deviance of held-out data, untrained, %s.", told)
    return load_weights(best)
