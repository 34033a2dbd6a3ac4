"""ALRA (Linderman et al., Nat Commun 13:192, 2022), written anew after its alra.R.

halra 0.1 is no substitute: with 12 power iterations in place of 2 it chooses another rank (69, not
19, for 906 cells of PBMC), and it refuses 100 cells or fewer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scdtl.tl.peers._peer import Options, Peer, scaled_to_library_size

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse

    from scdtl.tl.peers._peer import Rates

_BLOCK_GENES = 512


def alra(cells: AnnData, options: Options) -> Rates:
    """Rates per 10,000 from the completed low-rank matrix.

    alra.R of KlugerLab/ALRA, cells in rows and genes in columns, in its own words:

    - ``normalize_data``: counts over the cell's total, times ``10E3``, ``log(A_norm + 1)``; cells
      without molecules are removed (here their rates stay zero);
    - ``choose_k(A_norm, K=100, thresh=6, noise_start=80, q=2)`` gives the rank k;
    - ``rsvd(A_norm, k, q=10)`` gives the rank-k approximation;
    - per gene, what is ``<= abs(quantile(x, 0.001))`` becomes 0, and the others are scaled so that
      mean and sd of non-zeros are those of the gene's observed non-zeros (``sigma_2 / sigma_1``,
      ``mu_2 - mu_1 * sigma_2 / sigma_1``), unless one sd is NA or ``sigma_1 == 0``;
    - what is ``< 0`` then becomes 0, and observed non-zeros that are 0 get their observed value.

    The completed logarithms go back by expm1: rates per 10,000. They are dense, for the low-rank
    matrix is; that memory is the method's own cost. (Only a block of genes is held in double
    precision at a time, where R holds several whole matrices.)
    """
    from sklearn.utils.extmath import randomized_svd

    rates = np.zeros(cells.shape, dtype=np.float32)
    filled = np.flatnonzero(np.asarray(cells.X.sum(axis=1)).ravel() > 0)
    if not len(filled):
        return rates
    log_counts = scaled_to_library_size(cells.X[filled].astype(np.float64), 1e4).log1p()
    u, singular_values, v = randomized_svd(
        log_counts,
        alra_rank(log_counts, options.seed),
        n_iter=10,
        power_iteration_normalizer="QR",
        random_state=options.seed,
    )
    by_gene = log_counts.tocsc()
    for start in range(0, cells.n_vars, _BLOCK_GENES):
        genes = slice(start, start + _BLOCK_GENES)
        low_rank = (u * singular_values) @ v[:, genes]
        rates[filled, genes] = np.expm1(_completed(low_rank, by_gene[:, genes].toarray()))
    return rates


def alra_rank(log_counts: sparse.csr_matrix, seed: int) -> int:
    """ALRA's rank: the last spacing of singular values that stands out of the noise.

    ``choose_k``: of the 100 largest singular values, the spacings of those from the 80th on are
    noise; k is the last spacing ``diffs`` with ``(diffs - mu) / sigma > 6``. It stops for data
    with fewer than 100 cells or genes. Here all singular values are taken then, the last fifth of
    them (at least five spacings, where there are as many) as noise; and the rank is 1 where no
    spacing stands out, for which R has no answer either.
    """
    from sklearn.utils.extmath import randomized_svd

    n_values = min(100, *log_counts.shape)
    if n_values < 3:  # no two spacings to compare
        return 1
    singular_values = randomized_svd(
        log_counts, n_values, n_iter=2, power_iteration_normalizer="QR", random_state=seed
    )[1]
    spacings = -np.diff(singular_values)
    noise_start = max(min(round(0.8 * n_values), n_values - 5), 2)
    noise = spacings[noise_start - 2 :]  # R: diffs[noise_svals - 1], counted from 1
    signal = np.flatnonzero(spacings - noise.mean() > 6 * noise.std(ddof=1))
    return int(signal[-1]) + 1 if len(signal) else 1


def _completed(
    low_rank: NDArray[np.float64], observed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """ALRA's threshold, scaling and restored values, of some genes."""
    threshold = np.abs(np.quantile(low_rank, 0.001, axis=0))
    # Rounding errors of the SVD must not express a gene that has no molecule at all.
    keep = (low_rank > threshold) & (observed > 0).any(axis=0)
    kept = np.where(keep, low_rank, 0)
    mean, sd = _moments_of_nonzeros(kept)
    observed_mean, observed_sd = _moments_of_nonzeros(observed)
    scalable = np.isfinite(sd) & np.isfinite(observed_sd) & (sd > 0)
    factor = np.divide(observed_sd, sd, out=np.ones_like(sd), where=scalable)
    shift = np.where(scalable, observed_mean - mean * factor, 0)
    scaled = np.where(keep, np.maximum(kept * factor + shift, 0), 0)
    return np.where((observed > 0) & (scaled == 0), observed, scaled)


def _moments_of_nonzeros(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and sd (n - 1) of each column's non-zeros; NaN where there are too few."""
    nonzero = values != 0
    n = nonzero.sum(axis=0).astype(np.float64)
    mean = np.divide(values.sum(axis=0), n, out=np.full_like(n, np.nan), where=n > 0)
    squares = np.sum(np.where(nonzero, values - mean, 0) ** 2, axis=0)
    variance = np.divide(squares, n - 1, out=np.full_like(n, np.nan), where=n > 1)
    return mean, np.sqrt(variance)


PEER = Peer(alra, modules=("sklearn.utils.extmath",), library_size=1e4)
