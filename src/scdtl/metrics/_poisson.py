"""Poisson scores of rates against counts: only the non-zero counts need a logarithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

import numpy as np
from scipy import sparse

from scdtl.data._counts import gene_totals
from scdtl.metrics._matrices import check_axis, check_rates, dense, mean_from

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scdtl.metrics._matrices import Axis, FloatArray, Matrix

_EPSILON = 1e-6
"""Floor added to a rate before its logarithm, in molecules (the value of OpenProblems)."""

_PSEUDOCOUNT = 0.5
"""Molecules added to each gene of a mean profile, so that no gene gets rate zero."""


@overload
def poisson_deviance(counts: Matrix, rates: Matrix, axis: None = None) -> float: ...
@overload
def poisson_deviance(counts: Matrix, rates: Matrix, axis: Literal[0, 1]) -> FloatArray: ...
def poisson_deviance(counts: Matrix, rates: Matrix, axis: Axis = None) -> float | FloatArray:
    r"""Mean Poisson deviance of counts given their rates.

    The mean over entries of

    .. math:: d(y, \mu) = 2 \left( y \log\frac{y}{\mu} - y + \mu \right),
              \quad d(0, \mu) = 2 \mu,

    which is 0 where the rate equals the count, and infinite where a molecule was observed at rate
    0. Twice the log-likelihood ratio, hence without a unit (nats). Proper: true rates score best.

    Parameters
    ----------
    counts
        Molecules :math:`y`, cells × genes.
    rates
        Expected molecules :math:`\mu` at the same library size, cells × genes, not negative.
    axis
        `None` for one number over all entries, 0 for one per gene, 1 for one per cell.

    Returns
    -------
    The mean deviance, or an array of them.

    References
    ----------
    McCullagh and Nelder, Generalized Linear Models, 2nd edition (1989), section 2.3.

    Examples
    --------
    >>> import numpy as np
    >>> import scdtl
    >>> counts = np.array([[0, 2], [1, 3]])
    >>> scdtl.metrics.poisson_deviance(counts, counts)
    0.0
    >>> scdtl.metrics.poisson_deviance(counts, np.full((2, 2), 1.5), axis=0).round(3)
    array([1.595, 0.655])
    """
    check_axis(axis)
    check_rates(counts, rates)
    return mean_from(_deviance_sum(counts, rates, axis=axis), counts.shape, axis)


def poisson_score(held_out: Matrix, rates: Matrix, observed: Matrix) -> float:
    r"""Score of rates on held-out molecules: 0 is no denoising, 1 the held-out molecules.

    With the mean loss over all entries
    :math:`\ell(\mu) = \langle \mu - y \log(\mu + 10^{-6}) \rangle`, the Poisson negative
    log-likelihood of the held-out molecules :math:`y` up to a constant,

    .. math:: \frac{\ell(\text{observed}) - \ell(\text{rates})}
                   {\ell(\text{observed}) - \ell(y)},

    every row first scaled to the cell's number of held-out molecules. Without a unit; negative for
    rates worse than the observed counts. The scale is that of OpenProblems' denoising task, but
    the prediction is the rate and the held-out molecules are the counts, not the other way round.

    Parameters
    ----------
    held_out
        Molecules that the imputation did not see, cells × genes.
    rates
        Imputed expression on a linear scale, cells × genes, not negative; its rows may have any
        library size.
    observed
        Molecules that the imputation saw, cells × genes.

    Returns
    -------
    The pooled score; NaN where the observed counts are already perfect.

    References
    ----------
    Batson, Royer and Webber, bioRxiv 786269 (2019): molecular cross-validation.

    Open Problems in Single-Cell Analysis, denoising: https://openproblems.bio/results/denoising

    Examples
    --------
    >>> import numpy as np
    >>> import scdtl
    >>> adata = scdtl.datasets.toy()
    >>> observed = adata.X.toarray()
    >>> held_out = np.random.default_rng(0).poisson(observed / 9)
    >>> scdtl.metrics.poisson_score(held_out, observed, observed)
    0.0
    >>> scdtl.metrics.poisson_score(held_out, held_out, observed)
    1.0
    """
    check_rates(held_out, rates)
    check_rates(held_out, observed, name="observed")
    no_denoising = _loss(held_out, observed)
    perfect = _loss(held_out, held_out)
    if no_denoising == perfect:
        return float("nan")
    return (no_denoising - _loss(held_out, rates)) / (no_denoising - perfect)


def gene_deviance_explained(
    held_out: Matrix, rates: Matrix, observed: Matrix, min_molecules: int = 20
) -> FloatArray:
    r"""Per gene, the share of deviance that rates explain beyond the mean profile (D²).

    .. math:: D^2_g = 1 - \frac{\sum_i d(y_{ig}, \mu_{ig})}{\sum_i d(y_{ig}, L_i m_g)}

    with :math:`d` the Poisson deviance, :math:`L_i` the number of held-out molecules of cell
    :math:`i`, :math:`\mu` the rates with rows scaled to :math:`L_i` (and a floor of
    :math:`10^{-6}` molecules), and :math:`m` the proportions of the observed molecules of all
    cells (0.5 added per gene). 0 for the mean profile, 1 for the held-out molecules, negative
    for rates worse than the mean profile. Counting noise keeps even the true rates far below 1.

    Parameters
    ----------
    held_out
        Molecules that the imputation did not see, cells × genes.
    rates
        Imputed expression on a linear scale, cells × genes, not negative; its rows may have any
        library size.
    observed
        Molecules that the imputation saw, cells × genes.
    min_molecules
        Held-out molecules that a gene needs to be scored.

    Returns
    -------
    One number per gene, NaN for genes with fewer than `min_molecules` held-out molecules.

    See Also
    --------
    sklearn.metrics.d2_tweedie_score : The same share for a single gene, against its plain mean.

    Examples
    --------
    >>> import numpy as np
    >>> import scdtl
    >>> observed = scdtl.datasets.toy().X.toarray()
    >>> held_out = np.random.default_rng(0).poisson(observed / 9)
    >>> explained = scdtl.metrics.gene_deviance_explained(held_out, observed, observed)
    >>> explained.shape
    (40,)
    """
    check_rates(held_out, rates)
    check_rates(held_out, observed, name="observed")
    library_size = _row_sums(held_out)
    profile = gene_totals(observed) + _PSEUDOCOUNT
    baseline = library_size[:, None] * (profile / profile.sum())
    of_rates = _deviance_sum(
        held_out, rates, axis=0, scale=_scale_to(library_size, rates), floor=_EPSILON
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # genes without held-out molecules
        explained = of_rates / _deviance_sum(held_out, baseline, axis=0)
    molecules = gene_totals(held_out)
    return np.where(molecules >= max(min_molecules, 1), 1 - explained, np.nan)


def _loss(held_out: Matrix, rates: Matrix) -> float:
    """Poisson negative log-likelihood, up to a constant; rows scaled to the library size."""
    library_size = _row_sums(held_out)
    scale = _scale_to(library_size, rates)
    rows, columns, molecules = _nonzero(held_out)
    at_molecules = _values_at(rates, rows, columns) * scale[rows]
    return float(_row_sums(rates) @ scale - np.sum(molecules * np.log(at_molecules + _EPSILON)))


def _deviance_sum(
    counts: Matrix,
    rates: Matrix,
    *,
    axis: Axis,
    scale: FloatArray | None = None,
    floor: float = 0.0,
) -> FloatArray:
    """Sum of the Poisson deviance along an axis, each row of the rates times its scale."""
    scale = np.ones(counts.shape[0]) if scale is None else scale
    rows, columns, molecules = _nonzero(counts)
    at_molecules = _values_at(rates, rows, columns) * scale[rows] + floor
    with np.errstate(divide="ignore"):
        terms = molecules * (np.log(molecules) - np.log(at_molecules)) - molecules
    if axis is None:
        total = terms.sum() + _row_sums(rates) @ scale
    elif axis == 1:
        total = np.bincount(rows, terms, counts.shape[0]) + _row_sums(rates) * scale
    else:
        total = np.bincount(columns, terms, counts.shape[1]) + scale @ rates
    return np.maximum(2 * total, 0)


def _scale_to(library_size: FloatArray, rates: Matrix) -> FloatArray:
    """Factor per cell that brings its rates to a library size; 0 for a cell without rates."""
    total = _row_sums(rates)
    return np.divide(library_size, total, out=np.zeros_like(library_size), where=total > 0)


def _row_sums(matrix: Matrix) -> FloatArray:
    if sparse.issparse(matrix):  # to sum the rows of a COO matrix, SciPy 1.18 changes it
        matrix = sparse.csr_array(matrix)
    return np.asarray(matrix.sum(axis=1, dtype=np.float64)).ravel()


def _nonzero(counts: Matrix) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray]:
    """Rows, columns and values of the entries that are not zero."""
    if not sparse.issparse(counts):
        rows, columns = np.nonzero(counts)
        return rows, columns, counts[rows, columns].astype(np.float64)
    entries = sparse.coo_array(counts, copy=True)
    entries.sum_duplicates()
    kept = entries.data != 0
    rows, columns = (index[kept].astype(np.intp) for index in entries.coords)
    return rows, columns, entries.data[kept].astype(np.float64)


def _values_at(matrix: Matrix, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> FloatArray:
    matrix = sparse.csr_array(matrix) if sparse.issparse(matrix) else matrix
    return dense(matrix[rows, columns]).ravel()
