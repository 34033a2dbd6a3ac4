"""Methods to compare: each takes training counts and a seed and gives rates.

Rates are not negative and on the counts' scale, cells × genes. A line "as published" scores them
as they are. Importing this file imports none of the methods' libraries.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData
    from numpy.typing import NDArray

    FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class Imputed:
    """What a method gives back."""

    rates: FloatArray
    expected_log1p: Callable[[FloatArray], FloatArray] | None = None
    """The method's own mean of log1p(CP10k) at a library size per cell; peers have none."""
    train_seconds: float | None = None
    """The part of the time that went into training a network."""


@dataclass(frozen=True)
class Method:
    """A method and the modules to import before its clock starts."""

    run: Callable[[AnnData, int], Imputed]
    needs: tuple[str, ...] = ()
    by_default: bool = True
    has_posterior: bool = False


# Simple baselines


def observed(adata: AnnData, seed: int) -> Imputed:
    """No denoising."""
    return Imputed(adata.X.toarray())


def mean_profile(adata: AnnData, seed: int) -> Imputed:
    """The data set's mean profile at each cell's depth, 0.5 molecules added per gene."""
    profile = np.asarray(adata.X.sum(axis=0)).ravel() + 0.5
    depth = np.asarray(adata.X.sum(axis=1))
    return Imputed((depth * (profile / profile.sum())).astype(np.float32))


# kNN-smoothing


def knn_smoothing(adata: AnnData, seed: int, k: int) -> Imputed:
    """kNN-smoothing 2 (Wagner, Yan and Yanai, bioRxiv 217737), written anew.

    Neighbours are found step by step on ever smoother counts (median-normalised,
    Freeman-Tukey-transformed, 10 principal components); each step adds up the raw counts of a
    cell and its 1, 3, 7, ..., k neighbours.
    """
    smoothed = adata.X
    for step in range(1, int(np.ceil(np.log2(k + 1))) + 1):
        normalised = _per_depth(smoothed, np.median(np.asarray(smoothed.sum(axis=1))))
        shifted = normalised.copy()
        shifted.data = np.sqrt(normalised.data) + np.sqrt(normalised.data + 1) - 1
        smoothed = _sum_of_neighbours(adata.X, shifted, min(2**step - 1, k), 10, seed)
    return Imputed(smoothed.toarray())


def neighbour_sum(adata: AnnData, seed: int, k: int) -> Imputed:
    """Plain version of kNN-smoothing: counts of a cell and its k neighbours, in one step.

    Neighbours are found on 30 principal components of log1p(CP10k).
    """
    log_normalised = _per_depth(adata.X, 1e4).log1p()
    return Imputed(_sum_of_neighbours(adata.X, log_normalised, k, 30, seed).toarray())


def _per_depth(counts: sparse.csr_matrix, depth: float | np.floating) -> sparse.csr_matrix:
    total = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    return sparse.csr_matrix(sparse.diags(depth / total) @ counts)


def _sum_of_neighbours(
    counts: sparse.csr_matrix, expression: sparse.csr_matrix, k: int, n_pcs: int, seed: int
) -> sparse.csr_matrix:
    """Counts summed over each cell and its k nearest cells by expression."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    n_pcs = min(n_pcs, min(expression.shape) - 1)
    pca = PCA(n_pcs, svd_solver="arpack", random_state=seed)
    components = pca.fit_transform(expression)
    k = min(k, len(components) - 1)
    graph = NearestNeighbors(n_neighbors=k).fit(components).kneighbors_graph()
    return sparse.csr_matrix((graph + sparse.eye(len(components))) @ counts, dtype=np.float32)


# MAGIC


def magic(adata: AnnData, seed: int, t: int | str) -> Imputed:
    """MAGIC on square roots of library-size-normalised counts, squared back.

    `t=3` is the default of magic-impute 3.0, `t="auto"` that of the article.
    """
    from magic import MAGIC

    depth = np.asarray(adata.X.sum(axis=1))
    roots = _per_depth(adata.X, 1.0).sqrt()
    smoothed = MAGIC(t=t, random_state=seed, n_jobs=1, verbose=0).fit_transform(roots)
    return Imputed((np.square(np.maximum(smoothed, 0)) * depth).astype(np.float32))


# scVI


def scvi(adata: AnnData, seed: int, max_epochs: int | None, n_samples: int = 10) -> Imputed:
    """scVI with the negative binomial likelihood; the mean of some draws of the latent cell."""
    import scvi as scvi_tools
    from scvi.model import SCVI

    scvi_tools.settings.seed = seed
    adata = adata.copy()
    SCVI.setup_anndata(adata)
    model = SCVI(adata, gene_likelihood="nb")
    with _stopwatch(SCVI, "train") as seconds:
        model.train(max_epochs=max_epochs, accelerator="cpu", enable_progress_bar=False)
    proportions = np.zeros(adata.shape, dtype=np.float32)
    for _ in range(n_samples):
        proportions += model.get_normalized_expression(return_numpy=True) / n_samples
    depth = np.asarray(adata.X.sum(axis=1))
    return Imputed(proportions * depth, train_seconds=sum(seconds))


# scdtl


def scdtl(adata: AnnData, seed: int, bulk: str | None, **options: Any) -> Imputed:
    """This package with its defaults; the rates are the posterior mean at the cell's depth."""
    import scdtl as package

    with _stopwatch(package.SCDTL, "train") as seconds:
        model = package.pp.impute(
            adata, bulk=bulk, scale="counts", random_state=seed, return_model=True, **options
        )

    def expected_log1p(library_size: FloatArray) -> FloatArray:
        return model.get_imputed_expression(scale="expected_log1p", library_size=library_size)

    return Imputed(np.asarray(adata.layers["scdtl"]), expected_log1p, sum(seconds))


@contextmanager
def _stopwatch(owner: type, name: str) -> Iterator[list[float]]:
    """Seconds of each call of a method while the context lasts."""
    seconds: list[float] = []
    call = getattr(owner, name)

    def timed(*args: object, **kwargs: object) -> object:
        start = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            seconds.append(time.perf_counter() - start)

    with mock.patch.object(owner, name, timed):
        yield seconds


_NEIGHBOURS = ("sklearn.decomposition", "sklearn.neighbors")
_SCDTL = ("scdtl.pp", "scdtl.model", "scvi.model")

METHODS = {
    "observed": Method(observed, by_default=False),
    "mean": Method(mean_profile),
    "knn-smoothing-15": Method(partial(knn_smoothing, k=15), _NEIGHBOURS),
    "knn-smoothing-30": Method(partial(knn_smoothing, k=30), _NEIGHBOURS),
    "neighbour-sum-15": Method(partial(neighbour_sum, k=15), _NEIGHBOURS),
    "neighbour-sum-30": Method(partial(neighbour_sum, k=30), _NEIGHBOURS),
    "magic": Method(partial(magic, t=3), ("magic",)),
    "magic-auto": Method(partial(magic, t="auto"), ("magic",), by_default=False),
    "scvi-30": Method(partial(scvi, max_epochs=30), ("scvi.model",)),
    "scvi-default": Method(partial(scvi, max_epochs=None), ("scvi.model",), by_default=False),
    "scdtl": Method(partial(scdtl, bulk="human"), _SCDTL, has_posterior=True),
    "scdtl-no-bulk": Method(partial(scdtl, bulk=None), _SCDTL, has_posterior=True),
}
DEFAULT_METHODS = [name for name, method in METHODS.items() if method.by_default]
