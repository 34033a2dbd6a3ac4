"""Scores of rates on the held-out molecules of one split of UMIs."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scdtl import metrics
from scdtl.data._counts import gene_totals
from scdtl.data._thin import thin
from scdtl.metrics._matrices import check_rates

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scdtl.tl.peers._peer import Rates

MIN_MOLECULES = 20
"""Held-out molecules that a gene needs to be scored."""

_BLOCK_CELLS = 512


class Molecules:
    """Kept and held-out molecules, and scores of rates on the latter.

    Parameters
    ----------
    kept, held_out
        Molecules, cells × genes, CSR without stored zeros.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> from scdtl.tl._scores import Molecules
    >>> split = Molecules(csr_matrix([[3.0, 1.0]]), csr_matrix([[1.0, 0.0]]))
    >>> split.score("observed", split.kept)[0]["poisson_score"]
    0.0
    """

    def __init__(self, kept: sparse.csr_matrix, held_out: sparse.csr_matrix) -> None:
        self.kept = kept
        self.held_out = held_out

    @cached_property
    def n_held_out(self) -> NDArray[np.float64]:
        """Held-out molecules of each gene."""
        return gene_totals(self.held_out)

    @cached_property
    def _truth(self) -> sparse.csr_matrix:
        return log_cp10k(self.held_out)

    @cached_property
    def _mse_of_kept(self) -> float:
        return metrics.mse(self._truth, log_cp10k(self.kept))

    @classmethod
    def split(cls, counts: sparse.csr_matrix, held_out_fraction: float, seed: int) -> Molecules:
        """Hold out each molecule with a probability."""
        kept, held_out = (
            part.copy()
            for part in thin(counts, 1 - held_out_fraction, np.random.default_rng(seed))
        )
        # thin() leaves both parts with the zeros of the other: whoever looks sees where they lie.
        kept.eliminate_zeros()
        held_out.eliminate_zeros()
        if not (kept.nnz and held_out.nnz):
            raise ValueError(
                f"held_out_fraction {held_out_fraction} of {int(counts.sum())} molecules leaves "
                "none on one side of the split: give more cells, or another held_out_fraction."
            )
        return cls(kept, held_out)

    def score(self, name: str, rates: Rates) -> tuple[dict[str, float], NDArray[np.floating]]:
        """Scores over all entries, and the deviance explained of each gene.

        Rates are not negative, of any library size per cell.
        """
        check_rates_of(name, rates, self.kept)
        explained = metrics.gene_deviance_explained(self.held_out, rates, self.kept, MIN_MOLECULES)
        predicted = log_cp10k(rates)
        enough = self.n_held_out >= MIN_MOLECULES
        gene_r = metrics.pearson(self._truth, predicted, axis=0)[enough]
        error = metrics.mse(self._truth, predicted)
        return {
            "poisson_score": metrics.poisson_score(self.held_out, rates, self.kept),
            "gene_deviance_explained": of_numbers(np.mean, explained),
            "mse_score": 1 - error / self._mse_of_kept if self._mse_of_kept > 0 else float("nan"),
            "gene_r": of_numbers(np.median, gene_r),
            "cell_r": of_numbers(np.median, metrics.pearson(self._truth, predicted, axis=1)),
        }, explained


def check_rates_of(name: str, rates: Rates, kept: sparse.csr_matrix) -> None:
    """Refuse rates that do not fit the kept counts."""
    if rates.shape != kept.shape:
        raise ValueError(
            f"method {name!r} gave rates of shape {rates.shape} for {kept.shape} counts."
        )
    try:
        check_rates(kept, rates)
    except (TypeError, ValueError) as misfit:
        raise ValueError(f"method {name!r} gave no rates: {misfit}") from misfit


def per_10k(rates: Rates) -> NDArray[np.float64]:
    """Factor per cell that brings its rates to 10,000; 0 for a cell without any."""
    total = np.asarray(rates.sum(axis=1, dtype=np.float64)).ravel()
    return np.divide(1e4, total, out=np.zeros_like(total), where=total > 0)


def log_cp10k(rates: Rates) -> Rates:
    """log1p of counts per 10,000; zeros stay unstored, and a cell without molecules is zero."""
    factor = per_10k(rates)
    if sparse.issparse(rates):
        return sparse.csr_matrix(sparse.diags(factor) @ rates).log1p()
    result = np.empty(rates.shape, dtype=np.float32)
    for start in range(0, len(result), _BLOCK_CELLS):
        rows = slice(start, start + _BLOCK_CELLS)
        result[rows] = np.log1p(rates[rows] * factor[rows, None])
    return result


def mean_of_logs(counts: sparse.csr_matrix) -> NDArray[np.float64]:
    """Mean over cells of log1p of counts per 10,000."""
    return gene_totals(log_cp10k(counts)) / counts.shape[0]


def dense(matrix: Any) -> NDArray[np.floating]:
    """Matrix as an array."""
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


def of_numbers(summary: Callable[..., np.floating], values: NDArray[np.floating]) -> float:
    """Summary of what is not NaN; NaN of nothing."""
    numbers = values[~np.isnan(values)]
    return float(summary(numbers)) if len(numbers) else float("nan")
