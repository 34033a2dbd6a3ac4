"""Molecules and entries at random."""

from __future__ import annotations

import numpy as np
from scipy import sparse

_NAN = np.float32(np.nan).view(np.uint32)


def thin(
    counts: sparse.csr_matrix, fraction: float | np.ndarray, generator: np.random.Generator
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Split molecules at random: every count n becomes Binomial(n, fraction) and the rest.

    The probability is one number or one per cell. The kept molecules and the others have the
    structure arrays of ``counts`` itself: do not change them in place.
    """
    fraction = np.repeat(
        np.broadcast_to(fraction, counts.shape[0]).astype(np.float32), np.diff(counts.indptr)
    )
    # Most counts are 1 (or stored zeros): for them the draw is one comparison.
    one = generator.random(len(counts.data), dtype=np.float32) < fraction
    kept = np.minimum(counts.data, one, dtype=np.float32)
    several = np.flatnonzero(counts.data > 1)
    kept[several] = generator.binomial(counts.data[several].astype(np.int64), fraction[several])
    rest = counts.data - kept
    return (
        sparse.csr_matrix((kept, counts.indices, counts.indptr), shape=counts.shape),
        sparse.csr_matrix((rest, counts.indices, counts.indptr), shape=counts.shape),
    )


def entries_at_random(
    shape: tuple[int, int], share: float | np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """A mask of entries, cells × genes, with a probability for all or one per cell (cells × 1).

    It is drawn gene by gene: more genes at the end change no other. Probabilities are multiples
    of 2⁻¹⁶, which takes half the time of finer ones.
    """
    drawn = generator.integers(2**16, size=shape[::-1], dtype=np.uint16)
    below = np.clip(np.rint(np.multiply(share, 2**16)), 0, 2**16 - 1).astype(np.uint16)
    return np.ascontiguousarray((drawn < below.T).T)


def hide(entries: np.ndarray, hidden: np.ndarray) -> None:
    """Make entries (float32) NaN in place: bit by bit, an eighth of the time of a mask."""
    bits = entries.view(np.uint32)
    np.bitwise_or(bits, hidden * _NAN, out=bits)
