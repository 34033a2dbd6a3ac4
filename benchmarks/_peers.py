"""Methods to compare: each takes training counts and a seed and gives rates.

Rates are not negative and on the counts' scale, cells × genes. A line "as published" scores them
as they are. The peers of `scdtl.tl.evaluate` are all here, some with several parameters.
Importing this file imports none of the methods' libraries.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from scipy import sparse

from scdtl.tl.peers import NAMES, load
from scdtl.tl.peers._knn_smoothing import sum_of_neighbours
from scdtl.tl.peers._peer import Options, scaled_to_library_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData
    from numpy.typing import NDArray

    from scdtl import SCDTL

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
    model: SCDTL | None = None
    """scdtl's network, for what only it can be asked."""
    has_depth: bool = False
    """Whether the rates have a depth of their own, that of the counts, which is to be kept."""


@dataclass(frozen=True)
class Method:
    """A method and the modules to import before its clock starts."""

    run: Callable[[AnnData, int], Imputed]
    needs: tuple[str, ...] = ()
    by_default: bool = True
    has_posterior: bool = False


# Peers


def peer(adata: AnnData, seed: int, name: str, **parameters: Any) -> Imputed:
    """A peer as `scdtl.tl.evaluate` runs it, with rates at the depth of the cells."""
    entry = load(name)
    cells = adata.copy()
    rates = entry.run(cells, Options(seed), **parameters)
    rates = rates.toarray() if sparse.issparse(rates) else np.asarray(rates)
    if entry.library_size is not None:
        depth = np.asarray(adata.X.sum(axis=1))
        rates = (rates / entry.library_size * depth).astype(np.float32)
    return Imputed(rates, latent=None if entry.latent is None else cells.obsm[entry.latent])


def scvi(
    adata: AnnData, seed: int, max_epochs: int | None, gene_likelihood: str = "nb"
) -> Imputed:
    """scVI, with the time that its training took."""
    from scvi.model import SCVI

    initialise = SCVI.__init__

    @wraps(initialise)
    def with_likelihood(self: SCVI, *args: object, **kwargs: object) -> None:
        initialise(self, *args, **kwargs | {"gene_likelihood": gene_likelihood})

    with (
        _stopwatch(SCVI, "train") as seconds,
        mock.patch.object(SCVI, "__init__", with_likelihood),
    ):
        imputed = peer(adata, seed, "scvi", max_epochs=max_epochs, accelerator="cpu")
    return replace(imputed, train_seconds=sum(seconds))


# Methods that evaluate() does not know


def mean_of_logs(adata: AnnData, seed: int) -> Imputed:
    """The mean of log1p(CP10k) of all cells; one row, seen by all cells."""
    logs = np.asarray(scaled_to_library_size(adata.X, 1e4).log1p().mean(axis=0))
    return _of_logs(np.broadcast_to(logs, adata.shape), adata)


def magic_on_logs(adata: AnnData, seed: int, t: int | str = 3) -> Imputed:
    """MAGIC on log1p(CP10k), as scanpy's tutorials have it (`scanpy.external.pp.magic`)."""
    from magic import MAGIC

    logs = scaled_to_library_size(adata.X, 1e4).log1p()
    smoothed = MAGIC(t=t, random_state=seed, n_jobs=1, verbose=0).fit_transform(logs)
    return _of_logs(np.maximum(smoothed, 0), adata)


def _of_logs(logs: FloatArray, adata: AnnData) -> Imputed:
    """A method that gives logarithms of counts per 10,000, which need not sum to 10,000."""
    depth = np.asarray(adata.X.sum(axis=1))
    return Imputed(np.expm1(logs) * depth / 1e4, has_depth=True)


def neighbour_sum(adata: AnnData, seed: int, k: int) -> Imputed:
    """Plain version of kNN-smoothing: counts of a cell and its k neighbours, in one step.

    Neighbours are found on 30 principal components of log1p(CP10k).
    """
    log_normalised = scaled_to_library_size(adata.X, 1e4).log1p()
    return Imputed(sum_of_neighbours(adata.X, log_normalised, k, 30, seed).toarray())


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


# scdtl


def scdtl(adata: AnnData, seed: int, bulk: str | None, **options: Any) -> Imputed:
    """This package with its defaults; the rates are the posterior mean at the cell's depth.

    Data may name weights that suit them better, in `uns["bulk"]`.
    """
    import scdtl as package

    bulk = bulk and adata.uns.get("bulk", bulk)

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
        model=model,
        has_depth=True,
    )


# Parts


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


def _method(name: str, **parameters: Any) -> Method:
    run = scvi if name == "scvi" else partial(peer, name=name)
    return Method(partial(run, **parameters), load(name).modules)


_SCDTL = ("scdtl.pp", "scdtl.model", "scvi.model")

METHODS = {
    "observed": replace(_method("observed"), by_default=False),
    "mean": _method("mean profile"),
    "mean-of-logs": Method(mean_of_logs, by_default=False),
    "knn-smoothing-15": _method("knn smoothing", k=15),
    "knn-smoothing-30": _method("knn smoothing", k=30),
    "neighbour-sum-15": Method(partial(neighbour_sum, k=15), load("knn smoothing").modules),
    "neighbour-sum-30": Method(partial(neighbour_sum, k=30), load("knn smoothing").modules),
    "magic": _method("magic", t=3),
    "magic-auto": replace(_method("magic", t="auto"), by_default=False),
    "magic-logs": Method(magic_on_logs, load("magic").modules, by_default=False),
    "cellmapper": _method("cellmapper"),
    "alra": _method("alra"),
    "recode": Method(recode, ("screcode",)),
    "scvi-30": _method("scvi", max_epochs=30),
    "scvi-default": replace(_method("scvi", max_epochs=None), by_default=False),
    "scvi-30-zinb": replace(
        _method("scvi", max_epochs=30, gene_likelihood="zinb"), by_default=False
    ),
    "scdtl": Method(partial(scdtl, bulk="human"), _SCDTL, has_posterior=True),
    "scdtl-no-bulk": Method(partial(scdtl, bulk=None), _SCDTL, has_posterior=True),
    "scdtl-umi": Method(
        partial(scdtl, bulk="human", noise="umi"), _SCDTL, by_default=False, has_posterior=True
    ),
}
_NAMED_HERE = {
    "mean profile",
    "knn smoothing",
    "magic on logs",
    "scvi",
}  # otherwise, or with parameters
METHODS |= {name: _method(name) for name in NAMES if name not in METHODS.keys() | _NAMED_HERE}
DEFAULT_METHODS = [name for name, method in METHODS.items() if method.by_default]
