"""Methods that evaluate() compares: each takes kept molecules and gives rates.

Importing this file imports none of the methods' libraries.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from numpy.typing import NDArray

    Rates: TypeAlias = NDArray[np.floating] | sparse.csr_matrix

_N_SCVI_DRAWS = 10


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
    profile = np.asarray(cells.X.sum(axis=0, dtype=np.float64)).ravel() + 0.5
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
        normalised = _per_depth(smoothed, np.median(np.asarray(smoothed.sum(axis=1))))
        shifted = normalised.copy()
        shifted.data = np.sqrt(normalised.data) + np.sqrt(normalised.data + 1) - 1
        smoothed = _sum_of_neighbours(cells.X, shifted, min(2**step - 1, k), options.seed)
    return smoothed


def magic(cells: AnnData, options: Options) -> Rates:
    """MAGIC on square roots of library-size-normalised counts, squared back."""
    from magic import MAGIC

    roots = _per_depth(cells.X, 1.0).sqrt()
    operator = MAGIC(random_state=options.seed, n_jobs=1, verbose=0)
    with warnings.catch_warnings():  # of genes without molecules and of MAGIC's own libraries
        warnings.simplefilter("ignore")
        return np.square(np.maximum(operator.fit_transform(roots), 0))


def scvi(cells: AnnData, options: Options, max_epochs: int | None = None) -> Rates:
    """scVI, negative binomial, its own number of epochs; the mean of draws of the latent cell."""
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
                enable_progress_bar=False,
                datasplitter_kwargs={"external_indexing": split},
            )
            for _ in range(_N_SCVI_DRAWS):
                proportions += model.get_normalized_expression(return_numpy=True) / _N_SCVI_DRAWS
        finally:
            forget_anndata(SCVI, cells)
    return proportions


def _per_depth(counts: sparse.csr_matrix, depth: float | np.floating) -> sparse.csr_matrix:
    total = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    return sparse.csr_matrix(sparse.diags(depth / total) @ counts)


def _sum_of_neighbours(
    counts: sparse.csr_matrix, expression: sparse.csr_matrix, k: int, seed: int
) -> sparse.csr_matrix:
    """Counts summed over each cell and its k nearest cells by expression."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    k = min(k, counts.shape[0] - 1)
    n_pcs = min(10, *(n - 1 for n in expression.shape))
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
