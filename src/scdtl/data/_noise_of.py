"""Which noise model fits the values: that of counted molecules, or that of reads."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from scipy import sparse

NoiseName: TypeAlias = Literal["umi", "reads"]
Noise: TypeAlias = Literal["auto", NoiseName]

MAX_CELLS = 1_000
_MIN_VALUES = 1_000
_MIN_RARE_GENES = 1_000
_RARE, _MIN_DETECTIONS = 0.2, 3
_SPREAD_OF_READS = 2.0
_ONES_OF_READS, _TYPICAL_OF_READS = 0.2, 6
_ALIKE = 0.01
_LIKE_TPM = 100_000


class Recognised(NamedTuple):
    """A noise model by name, the reason for it, and the evidence in numbers."""

    noise: NoiseName
    why: str
    evidence: dict[str, float]


def check_noise(noise: object) -> None:
    """Refuse an unknown noise model."""
    if noise not in get_args(Noise):
        known = ", ".join(map(repr, get_args(Noise)))
        raise ValueError(f"noise={noise!r} is unknown: choose one of {known}.")


def cells_to_tell_by(n_cells: int) -> np.ndarray:
    """Positions of at most 1,000 cells, evenly spread."""
    return np.unique(np.linspace(0, n_cells - 1, min(n_cells, MAX_CELLS)).astype(int))


def evidence_of(values: Any) -> dict[str, float]:
    """What tells molecules from reads, of at most 1,000 cells evenly spread.

    ``n_values``: number of positive values. ``whole``: share of whole numbers among them.
    ``scaled``: 1 if they are not whole, but multiples of their cell's smallest, as counts are
    that were scaled to a library size; what follows is then said of these multiples.
    ``smallest``: smallest positive value of a cell, median over cells. ``ones``: share of the
    positive values that are at most 1. ``typical``: median of the positive values. ``n_rare`` and
    ``spread``: number of genes that 3 cells to 20 % of the cells have, and the median of their
    variance over their mean: molecules come one by one, with a variance near the mean, and reads
    in many copies. ``size``: median of the cells' sums. ``alike``: 1 if all cells sum to the
    same, above 100,000.
    """
    counts = sparse.csr_matrix(values[cells_to_tell_by(values.shape[0])]).astype(np.float64)
    counts.eliminate_zeros()
    n_stored = np.diff(counts.indptr)
    counts, n_stored = counts[n_stored > 0], n_stored[n_stored > 0]
    if not counts.nnz:
        return {"n_values": 0.0, "whole": 1.0}
    data, starts = counts.data, counts.indptr[:-1]
    smallest = np.minimum.reduceat(data, starts)
    sizes = np.add.reduceat(data, starts)
    alike = len(sizes) > 1 and np.ptp(sizes) < _ALIKE * np.median(sizes)
    whole = float((data == np.rint(data)).mean())
    multiples = data / np.repeat(smallest, n_stored)
    scaled = whole < 1 and bool((abs(multiples - np.rint(multiples)) < 1e-3 * multiples).all())
    if scaled:
        data, smallest, alike = np.rint(multiples), np.ones_like(smallest), False
    n_cells = counts.shape[0]
    detected = np.bincount(counts.indices, minlength=counts.shape[1])
    mean, square = (
        np.bincount(counts.indices, weights, minlength=counts.shape[1]) / n_cells
        for weights in (data, data**2)
    )
    rare = (detected >= _MIN_DETECTIONS) & (detected <= _RARE * n_cells)
    spread = (square[rare] - mean[rare] ** 2) / mean[rare]
    return {
        "n_values": float(len(data)),
        "whole": whole,
        "scaled": float(scaled),
        "smallest": float(np.median(smallest)),
        "ones": float((data <= 1).mean()),
        "typical": float(np.median(data)),
        "n_rare": float(rare.sum()),
        "spread": float(np.median(spread)) if rare.any() else float("nan"),
        "size": float(np.median(sizes)),
        "alike": float(alike and np.median(sizes) > _LIKE_TPM),
    }


def recognised(evidence: dict[str, float]) -> Recognised:
    """The noise model that fits the evidence."""
    if evidence["n_values"] < _MIN_VALUES:
        return Recognised("umi", "too few values to tell", evidence)
    spread, ones, typical = (evidence[name] for name in ("spread", "ones", "typical"))
    is_panel = evidence["n_rare"] < _MIN_RARE_GENES
    if is_panel and evidence["whole"] < 1 and not evidence["scaled"]:
        is_reads, why = False, "fractions, and too few genes to tell what they are"
    elif evidence["smallest"] > 1:
        is_reads, smallest = True, evidence["smallest"]
        why = f"in half of the cells the smallest value above zero is {smallest:g} or more"
    elif evidence["alike"]:
        is_reads, why = True, f"all cells sum to about {round(evidence['size'], -3):,.0f}"
    elif not is_panel:
        is_reads = spread > _SPREAD_OF_READS
        why = f"the variance of rare genes is {spread:.1f} times their mean"
    else:
        is_reads = ones < _ONES_OF_READS and typical >= _TYPICAL_OF_READS
        why = f"{100 * ones:.0f} % of the positive values are 1 or less, their median {typical:g}"
    return Recognised("reads" if is_reads else "umi", why, evidence)
