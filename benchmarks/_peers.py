"""Methods to compare: each takes training counts and a seed and gives rates.

Rates are not negative and on the counts' scale, cells × genes. A line "as published" scores them
as they are. Peers that `scdtl.tl.evaluate` knows too run with its code, `scdtl.tl._peers`.
Importing this file imports none of the methods' libraries.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
    latent: FloatArray | None = None
    """What the method itself calls its latent, cells × dimensions."""
    std: Callable[[], FloatArray] | None = None
    """The method's own posterior standard deviation of the rates; peers have none."""


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
    from scdtl.tl import _peers

    return _at_depth(adata, _peers.mean_profile(adata, _peers.Options(seed)))


# Sums over neighbours


def knn_smoothing(adata: AnnData, seed: int, k: int) -> Imputed:
    """kNN-smoothing 2, written anew after the article; its rates are sums of k + 1 cells."""
    from scdtl.tl import _peers

    return Imputed(_peers.knn_smoothing(adata, _peers.Options(seed), k).toarray())


def neighbour_sum(adata: AnnData, seed: int, k: int) -> Imputed:
    """Plain version of kNN-smoothing: counts of a cell and its k neighbours, in one step.

    Neighbours are found on 30 principal components of log1p(CP10k).
    """
    from scdtl.tl._peers import per_depth, sum_of_neighbours

    log_normalised = per_depth(adata.X, 1e4).log1p()
    return Imputed(sum_of_neighbours(adata.X, log_normalised, k, 30, seed).toarray())


# Diffusion


def magic(adata: AnnData, seed: int, t: int | str) -> Imputed:
    """MAGIC; `t=3` is the default of magic-impute 3.0, `t="auto"` that of the article."""
    from scdtl.tl import _peers

    return _at_depth(adata, _peers.magic(adata, _peers.Options(seed), t))


def cellmapper(adata: AnnData, seed: int) -> Imputed:
    """CellMapper mapping a data set to itself, as its author has it denoise for OpenProblems.

    openproblems-bio/task_denoising, src/methods/cellmapper/script.py: `normalize_total(1e4)`,
    `log1p`, `highly_variable_genes`, `pca` (50 components), `compute_neighbors(use_rep="X_pca")`
    (30 neighbours), `compute_mapping_matrix(kernel_method="umap")` (also the package's default
    for mapping to itself) and `map_layers(key="counts", t=3)`: counts after three steps.
    """
    import scanpy as sc
    from cellmapper import CellMapper

    cells = adata.copy()
    cells.layers["counts"] = cells.X.copy()
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    sc.pp.highly_variable_genes(cells)
    sc.pp.pca(cells, random_state=seed)
    mapper = CellMapper(cells)
    mapper.compute_neighbors(use_rep="X_pca", random_state=seed)
    mapper.compute_mapping_matrix(kernel_method="umap")
    mapper.map_layers(key="counts", t=3)
    counts = mapper.query_imputed.X
    return Imputed(counts.toarray() if sparse.issparse(counts) else np.asarray(counts))


# Low rank


def alra(adata: AnnData, seed: int) -> Imputed:
    """ALRA, written anew after its alra.R, with its defaults."""
    from scdtl.tl import _peers

    return _at_depth(adata, _peers.alra(adata, _peers.Options(seed)) / 1e4)


def recode(adata: AnnData, seed: int) -> Imputed:
    """RECODE (Imoto et al., Life Sci Alliance 5:e202201591, 2022) with the defaults of screcode.

    Tutorial "RECODE for scRNA-seq" of its documentation: `recode = screcode.RECODE()`,
    `adata = recode.fit_transform(adata)`; the result is `layers["RECODE"]`, on the counts' scale.
    An array goes the same way without the logarithms and statistics that an AnnData gets.
    """
    from screcode import RECODE

    counts = adata.X.toarray().astype(np.int64)  # it asks for integers
    denoised = RECODE(random_state=seed, verbose=False).fit_transform(counts)
    return Imputed(denoised.astype(np.float32))


# scVI


def scvi(adata: AnnData, seed: int, max_epochs: int | None) -> Imputed:
    """scVI with the negative binomial likelihood; the mean of some draws of the latent cell."""
    from scvi.model import SCVI

    from scdtl.tl import _peers

    with _stopwatch(SCVI, "train") as seconds:
        proportions, latent = _peers.rates_and_latent_of_scvi(
            adata.copy(), _peers.Options(seed), max_epochs, accelerator="cpu"
        )
    imputed = _at_depth(adata, proportions)
    return replace(imputed, train_seconds=sum(seconds), latent=latent)


# scdtl


def scdtl(adata: AnnData, seed: int, bulk: str | None, **options: Any) -> Imputed:
    """This package with its defaults; the rates are the posterior mean at the cell's depth."""
    import scdtl as package

    with _stopwatch(package.SCDTL, "train") as seconds:
        model = package.pp.impute(
            adata, bulk=bulk, scale="counts", random_state=seed, return_model=True, **options
        )

    def expected_log1p(library_size: FloatArray) -> FloatArray:
        return model.get_imputed_expression(
            scale="expected_log1p", library_size=library_size, return_numpy=True
        )

    def std() -> FloatArray:
        return model.get_imputed_expression(scale="counts", return_std=True, return_numpy=True)[1]

    return Imputed(
        np.asarray(adata.layers["scdtl"]),
        expected_log1p,
        sum(seconds),
        latent=adata.obsm["X_scdtl"],
        std=std,
    )


# Parts


def _at_depth(adata: AnnData, rates: FloatArray) -> Imputed:
    """Rates times the cells' numbers of molecules, for methods that give proportions."""
    return Imputed((rates * np.asarray(adata.X.sum(axis=1))).astype(np.float32))


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


_PEERS = "scdtl.tl._peers"
_NEIGHBOURS = (_PEERS, "sklearn.decomposition", "sklearn.neighbors")
_MAGIC = (_PEERS, "magic")
_SCVI = (_PEERS, "scvi.model")
_SCDTL = ("scdtl.pp", "scdtl.model", "scvi.model")

METHODS = {
    "observed": Method(observed, by_default=False),
    "mean": Method(mean_profile, (_PEERS,)),
    "knn-smoothing-15": Method(partial(knn_smoothing, k=15), _NEIGHBOURS),
    "knn-smoothing-30": Method(partial(knn_smoothing, k=30), _NEIGHBOURS),
    "neighbour-sum-15": Method(partial(neighbour_sum, k=15), _NEIGHBOURS),
    "neighbour-sum-30": Method(partial(neighbour_sum, k=30), _NEIGHBOURS),
    "magic": Method(partial(magic, t=3), _MAGIC),
    "magic-auto": Method(partial(magic, t="auto"), _MAGIC, by_default=False),
    "cellmapper": Method(cellmapper, ("cellmapper", "scanpy")),
    "alra": Method(alra, (_PEERS, "sklearn.utils.extmath")),
    "recode": Method(recode, ("screcode",)),
    "scvi-30": Method(partial(scvi, max_epochs=30), _SCVI),
    "scvi-default": Method(partial(scvi, max_epochs=None), _SCVI, by_default=False),
    "scdtl": Method(partial(scdtl, bulk="human"), _SCDTL, has_posterior=True),
    "scdtl-no-bulk": Method(partial(scdtl, bulk=None), _SCDTL, has_posterior=True),
}
DEFAULT_METHODS = [name for name, method in METHODS.items() if method.by_default]
