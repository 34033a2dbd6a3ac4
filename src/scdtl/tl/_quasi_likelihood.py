r"""A moderated quasi-likelihood test of counts between two groups of cells.

With :math:`S_k` the molecules of a gene in group k, :math:`T_k` those of all genes there and
:math:`m_k = S_k / T_k`, the likelihood ratio of two Poisson rates against the common rate m is

.. math:: \mathrm{LR} = 2 \sum_k S_k \log (m_k / m).

Cells of one group differ by more than counting noise, so it is divided by how much more: the
variance of the rates' difference that the cells show, over that of Poisson counts,

.. math:: \psi = \sum_k w_k s_k \Big/ \sum_k w_k S_k, \quad w_k = (1 - T_k / T)^2,

where :math:`s_k` is the sum of squares of :math:`c_i - L_i m_k` over the cells of the group
(:math:`n_k - 1` degrees of freedom) averaged with what one dispersion of the gene for both groups
predicts, :math:`S_k + \varphi m_k^2 \sum L_i^2` (as 20 degrees of freedom more). :math:`\psi` is
at least 1. The signed root of LR / :math:`\psi` is compared with Student's t distribution with
Welch and Satterthwaite's degrees of freedom. A likelihood ratio, unlike a difference of means,
is accurate where a small group meets a large one and molecules are few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse, special, stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_PRIOR_DF = 20
_PRIOR_MOLECULES = 0.5


@dataclass(frozen=True)
class Sums:
    """What the test needs of a group's cells; additive, so that groups can be joined.

    Parameters
    ----------
    per_gene
        Rows: Σ c, Σ c², Σ c L, number of cells with c > 0; for molecules c and library size L.
    of_cells
        Σ L, Σ L², number of cells.
    """

    per_gene: Floats
    of_cells: Floats

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.per_gene + other.per_gene, self.of_cells + other.of_cells)

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.per_gene - other.per_gene, self.of_cells - other.of_cells)

    @property
    def molecules(self) -> Floats:
        """Molecules of each gene."""
        return self.per_gene[0]

    @property
    def library_size(self) -> float:
        """Molecules of all genes."""
        return float(self.of_cells[0])

    @property
    def n_cells(self) -> int:
        """Cells with molecules."""
        return int(self.of_cells[2])

    @property
    def rate(self) -> Floats:
        """Share of each gene among the molecules."""
        return self.per_gene[0] / self.of_cells[0]

    @property
    def expressing(self) -> Floats:
        """Share of cells with a molecule of the gene."""
        return self.per_gene[3] / self.of_cells[2]

    @property
    def spread(self) -> Floats:
        """Σ (L m)² at the group's own rate m: what a dispersion of 1 adds to the variance."""
        return self.rate**2 * self.of_cells[1]

    @property
    def squared_residuals(self) -> Floats:
        """Σ (c - L m)², with n / (n - 1) for the fitted rate."""
        raw = self.per_gene[1] - 2 * self.rate * self.per_gene[2] + self.spread
        return np.maximum(raw, 0) * self.n_cells / (self.n_cells - 1)


class Comparison(NamedTuple):
    """Result per gene: signed statistic, two-sided p-value, log2 of the ratio of rates."""

    scores: Floats
    pvals: Floats
    logfoldchanges: Floats


def sums_of_groups(counts: sparse.csr_matrix, codes: NDArray[np.integer]) -> list[Sums]:
    """Sums of each group (codes from 0 on; negative for none), on stored values only."""
    counts = sparse.csr_matrix(counts, dtype=np.float64)
    library_size = np.asarray(counts.sum(axis=1)).ravel()
    cells = np.flatnonzero((codes >= 0) & (library_size > 0))
    shape = (int(codes.max(initial=-1)) + 1, len(codes))
    member = sparse.csr_matrix((np.ones(len(cells)), (codes[cells], cells)), shape=shape)
    parts = (counts, counts.power(2), sparse.diags(library_size) @ counts, counts.sign())
    per_gene = [(member @ part).toarray() for part in parts]
    of_cells = [
        member @ values for values in (library_size, library_size**2, np.ones(len(library_size)))
    ]
    return [
        Sums(
            np.stack([part[k] for part in per_gene]),
            np.stack([part[k] for part in of_cells]),
        )
        for k in range(shape[0])
    ]


def compare(a: Sums, b: Sums) -> Comparison:
    """Test the rates of two groups, of at least two cells with counts each, gene by gene."""
    both = a + b
    ratio = _log_ratio(a, both) + _log_ratio(b, both)
    excess = a.squared_residuals + b.squared_residuals - both.molecules
    dispersion = np.maximum(_divided(excess, a.spread + b.spread), 0)

    variances, expected, degrees = [], [], []
    for group, other in ((a, b), (b, a)):
        weight = (other.library_size / both.library_size) ** 2
        own = group.n_cells - 1
        prior = group.molecules + dispersion * group.spread
        moderated = (own * group.squared_residuals + _PRIOR_DF * prior) / (own + _PRIOR_DF)
        variances.append(weight * moderated)
        expected.append(weight * group.molecules)
        degrees.append(own + _PRIOR_DF)
    variance = variances[0] + variances[1]
    psi = np.maximum(_divided(variance, expected[0] + expected[1]), 1)
    within = variances[0] ** 2 / degrees[0] + variances[1] ** 2 / degrees[1]
    df = np.maximum(_divided(variance**2, within), min(degrees))

    scores = np.sign(a.rate - b.rate) * np.sqrt(np.maximum(2 * ratio, 0) / psi)
    fold = _divided(_shrunken_rate(a, both), _shrunken_rate(b, both), otherwise=1)
    return Comparison(
        scores=scores,
        pvals=2 * stats.t.sf(np.abs(scores), df),
        logfoldchanges=np.where(both.rate > 0, np.log2(fold), 0),
    )


def _log_ratio(group: Sums, both: Sums) -> Floats:
    """Log-likelihood that a group gains by a rate of its own, but for what both gain in sum."""
    return special.xlogy(group.molecules, _divided(group.rate, both.rate))


def _shrunken_rate(group: Sums, both: Sums) -> Floats:
    """The group's rate with half a molecule at the common rate added."""
    library_size = group.library_size + _divided(
        np.full_like(both.rate, _PRIOR_MOLECULES), both.rate
    )
    return (group.molecules + _PRIOR_MOLECULES) / library_size


def _divided(numerator: Floats, denominator: Floats, otherwise: float = 0) -> Floats:
    result = np.full(denominator.shape, float(otherwise))
    return np.divide(numerator, denominator, out=result, where=denominator > 0)
