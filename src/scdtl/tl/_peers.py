"""Methods that evaluate() and the benchmarks compare: each takes molecules and gives rates.

Importing this file imports none of the methods' libraries.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy import sparse

from scdtl.data._totals import gene_totals

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from numpy.typing import NDArray

    Rates: TypeAlias = NDArray[np.floating] | sparse.csr_matrix

_N_SCVI_DRAWS = 10
_BLOCK_GENES = 512


@dataclass(frozen=True)
class Options:
    """What a method may need beside the counts."""

    seed: int
    batch_key: str | None = None
    bulk: Any = None
    impute_kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A method, the modules to import before its clock starts, and what pip calls them."""

    run: Callable[[AnnData, Options], Rates]
    needs: tuple[str, ...] = ()
    package: str | None = None
    by_default: bool = True

    @property
    def is_installed(self) -> bool:
        """Whether the package is there; by its own name, as python-magic is a `magic` too."""
        try:
            return self.package is None or bool(distribution(self.package))
        except PackageNotFoundError:
            return False


def observed(cells: AnnData, options: Options) -> Rates:
    """No denoising."""
    return cells.X


def mean_profile(cells: AnnData, options: Options) -> Rates:
    """The mean profile of all cells, 0.5 molecules added per gene; one row, seen by all cells."""
    profile = gene_totals(cells.X) + 0.5
    return np.broadcast_to(profile / profile.sum(), cells.shape)


def scdtl(cells: AnnData, options: Options) -> Rates:
    """Posterior mean of this package, at the cell's depth."""
    from scdtl.pp import impute

    impute(
        cells,
        bulk=options.bulk,
        batch_key=options.batch_key,
        scale="counts",
        random_state=options.seed,
        **options.impute_kwargs,
    )
    return cells.layers["scdtl"]


def knn_smoothing(cells: AnnData, options: Options, k: int = 15) -> Rates:
    """kNN-smoothing 2 (Wagner, Yan and Yanai, bioRxiv 217737), written anew.

    Neighbours are found step by step on ever smoother counts (median-normalised,
    Freeman-Tukey-transformed, 10 principal components); each step adds up the raw counts of a
    cell and its 1, 3, 7, ..., k neighbours.
    """
    smoothed = cells.X
    for step in range(1, int(np.ceil(np.log2(k + 1))) + 1):
        normalised = per_depth(smoothed, np.median(np.asarray(smoothed.sum(axis=1))))
        shifted = normalised.copy()
        shifted.data = np.sqrt(normalised.data) + np.sqrt(normalised.data + 1) - 1
        smoothed = sum_of_neighbours(cells.X, shifted, min(2**step - 1, k), 10, options.seed)
    return smoothed


def magic(cells: AnnData, options: Options, t: int | str = 3) -> Rates:
    """MAGIC on square roots of library-size-normalised counts, squared back.

    ``t=3`` is the default of magic-impute 3.0, ``t="auto"`` that of the article. The tutorial of
    magic-impute: ``scprep.normalize.library_size_normalize``, ``scprep.transform.sqrt``,
    ``magic.MAGIC().fit_transform(data)``.
    """
    from magic import MAGIC

    roots = per_depth(cells.X, 1.0).sqrt()
    operator = MAGIC(t=t, random_state=options.seed, n_jobs=1, verbose=0)
    with warnings.catch_warnings():  # of genes without molecules and of MAGIC's own libraries
        warnings.simplefilter("ignore")
        return np.square(np.maximum(operator.fit_transform(roots), 0))


# ALRA


def alra(cells: AnnData, options: Options) -> Rates:
    """ALRA (Linderman et al., Nat Commun 13:192, 2022), written anew after its alra.R.

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
    log_counts = per_depth(cells.X[filled].astype(np.float64), 1e4).log1p()
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


# scVI


def scvi(cells: AnnData, options: Options, max_epochs: int | None = None) -> Rates:
    """scVI, negative binomial, its own number of epochs; the mean of draws of the latent cell."""
    return rates_and_latent_of_scvi(cells, options, max_epochs)[0]


def rates_and_latent_of_scvi(
    cells: AnnData, options: Options, max_epochs: int | None = None, accelerator: str = "auto"
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Train scVI once; rates that sum to one in each cell, and the latent's mean."""
    from scvi.model import SCVI

    from scdtl._compat import forget_anndata, quiet_lightning
    from scdtl._random import local_seed

    # scvi-tools would split by its global seed, or without one at random.
    order = np.random.default_rng(options.seed).permutation(cells.n_obs)
    n_validation = cells.n_obs // 10
    split = [order[n_validation:], order[:n_validation], np.array([], dtype=order.dtype)]
    proportions = np.zeros(cells.shape, dtype=np.float32)
    with local_seed(options.seed), quiet_lightning():
        try:
            SCVI.setup_anndata(cells, batch_key=options.batch_key)
            model = SCVI(cells, gene_likelihood="nb")
            model.train(
                max_epochs=max_epochs,
                accelerator=accelerator,
                enable_progress_bar=False,
                datasplitter_kwargs={"external_indexing": split},
            )
            for _ in range(_N_SCVI_DRAWS):
                proportions += model.get_normalized_expression(return_numpy=True) / _N_SCVI_DRAWS
            return proportions, model.get_latent_representation()
        finally:
            forget_anndata(SCVI, cells)


# What several of them need


def per_depth(counts: sparse.csr_matrix, depth: float | np.floating) -> sparse.csr_matrix:
    """Counts scaled to one depth; a cell without molecules stays zero."""
    total = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    return sparse.csr_matrix(sparse.diags(depth / total) @ counts)


def sum_of_neighbours(
    counts: sparse.csr_matrix, expression: sparse.csr_matrix, k: int, n_pcs: int, seed: int
) -> sparse.csr_matrix:
    """Counts summed over each cell and its k nearest cells by expression."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    k = min(k, counts.shape[0] - 1)
    n_pcs = min(n_pcs, *(n - 1 for n in expression.shape))
    if k < 1 or n_pcs < 1:
        return counts
    components = PCA(n_pcs, svd_solver="arpack", random_state=seed).fit_transform(expression)
    graph = NearestNeighbors(n_neighbors=k).fit(components).kneighbors_graph()
    return sparse.csr_matrix((graph + sparse.eye(len(components))) @ counts, dtype=np.float32)


METHODS = {
    "observed": Method(observed),
    "mean profile": Method(mean_profile),
    "scdtl": Method(scdtl, ("scdtl.pp",)),
    "knn smoothing": Method(knn_smoothing, ("sklearn.decomposition", "sklearn.neighbors")),
    "alra": Method(alra, ("sklearn.utils.extmath",)),
    "magic": Method(magic, ("magic",), "magic-impute"),
    "scvi": Method(scvi, ("scvi.model",), "scvi-tools", by_default=False),
}
"""All known methods; scvi only by name, as it is slow."""


def chosen(names: Any) -> dict[str, Method]:
    """Methods by name, in the order asked for.

    Parameters
    ----------
    names
        Names and functions; ``None`` for all that are installed and not slow.

    Raises
    ------
    ValueError
        For an unknown name, a name given twice, or none at all.
    ImportError
        For a method whose package is not installed.

    Examples
    --------
    >>> from scdtl.tl._peers import chosen
    >>> list(chosen(["observed", "scdtl"]))
    ['observed', 'scdtl']
    """
    if names is None:
        return {
            name: method
            for name, method in METHODS.items()
            if method.by_default and method.is_installed
        }
    if isinstance(names, str) or callable(names):
        names = [names]
    if not isinstance(names, Iterable):
        raise TypeError(f"methods must be a list of names and functions, not {names!r}.")
    methods: dict[str, Method] = {}
    for item in names:
        name, method = _own(item) if callable(item) else (item, METHODS.get(item))
        if method is None:
            raise ValueError(f"unknown method {name!r}; the known ones are: {', '.join(METHODS)}.")
        if not method.is_installed:
            raise ImportError(
                f"method {name!r} needs the package {method.package}: pip install {method.package}"
            )
        if name in methods or (callable(item) and name in METHODS):
            raise ValueError(f"more than one method is called {name!r}: give each its own name.")
        methods[name] = method
    if not methods:
        raise ValueError(f"methods is empty; the known ones are: {', '.join(METHODS)}.")
    return methods


def _own(function: Callable[[AnnData], Any]) -> tuple[str, Method]:
    """A method of the user's, called by the function's name."""

    def run(cells: AnnData, options: Options) -> Rates:
        rates = function(cells)
        return sparse.csr_matrix(rates) if sparse.issparse(rates) else np.asarray(rates)

    return getattr(function, "__name__", type(function).__name__), Method(run)
