"""Rates of any method, corrected by the cell's own counts, as scdtl's are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scdtl.data._counts import gene_totals
from scdtl.noise._posterior import posterior_mean, residual_moments
from scdtl.tl._scores import dense

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scdtl.tl.peers._peer import Rates

_BLOCK_CELLS = 512


def with_posterior(rates: Rates, counts: sparse.csr_matrix) -> Rates:
    r"""Mean of the gamma-Poisson posterior around rates that a method gave.

    Rows, of any library size, are first scaled to the cell's. The dispersion per gene is that of
    the residuals, :math:`\varphi = \sum ((c - \mu)^2 - \mu) / \sum \mu^2`, not negative. The
    denominator is taken no smaller than that of the mean profile: where rates of a rare gene
    collapse, the dispersion would be without bounds.
    """
    depth = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    profile = gene_totals(counts) / max(depth.sum(), 1.0)
    excess, squares = np.zeros((2, counts.shape[1]))
    for _, mu, own in _blocks(rates, counts, depth):
        moments = residual_moments(own, mu)
        excess += moments[0]
        squares += moments[1]
    squares = np.maximum(squares, (depth @ depth) * profile**2)
    dispersion = np.divide(excess, squares, out=np.zeros_like(excess), where=squares > 0)
    np.maximum(dispersion, 0, out=dispersion)
    if sparse.issparse(rates):  # where the rate is zero, the posterior mean is
        parts = [
            sparse.csr_matrix(posterior_mean(mu, own, dispersion), dtype=np.float32)
            for _, mu, own in _blocks(rates, counts, depth)
        ]
        return sparse.vstack(parts, format="csr")
    result = np.empty(rates.shape, dtype=np.float32)
    for rows, mu, own in _blocks(rates, counts, depth):
        result[rows] = posterior_mean(mu, own, dispersion)
    return result


def are_counts(rates: Rates, counts: sparse.csr_matrix) -> bool:
    """Whether rates are the counts themselves, which a posterior leaves as they are."""
    return all(np.array_equal(dense(rates[rows]), dense(counts[rows])) for rows in _rows(counts))


def _blocks(
    rates: Rates, counts: sparse.csr_matrix, depth: NDArray[np.float64]
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
    """Some rows, their rates at the cells' library sizes, and their counts; dense."""
    for rows in _rows(counts):
        mu = dense(rates[rows]).astype(np.float64)
        total = mu.sum(axis=1)
        mu *= np.divide(depth[rows], total, out=np.zeros_like(total), where=total > 0)[:, None]
        yield rows, mu, dense(counts[rows]).astype(np.float64)


def _rows(counts: sparse.csr_matrix) -> Iterator[slice]:
    for start in range(0, counts.shape[0], _BLOCK_CELLS):
        yield slice(start, start + _BLOCK_CELLS)
