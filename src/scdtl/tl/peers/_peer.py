"""What a peer is: how it is run, what it needs, and what its rates mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scdtl.data._noise_of import NoiseName

    Rates: TypeAlias = NDArray[np.floating] | sparse.csr_matrix


class Logs(NamedTuple):
    """Predicted log1p of counts per 10,000, of a method that works on that scale.

    They are scored as they are: means of logarithms belong to no rates that sum to 10,000.
    """

    values: NDArray[np.floating]
    detection: NDArray[np.floating] | sparse.csr_matrix | None = None
    """Probability that the gene is detected, if the method gives one."""


@dataclass(frozen=True)
class Options:
    """What a peer may need beside the counts."""

    seed: int
    batch_key: str | None = None
    bulk: Any = None
    impute_kwargs: dict[str, Any] = field(default_factory=dict)
    noise: NoiseName = "umi"


@dataclass(frozen=True)
class Peer:
    """A method to compare.

    Parameters
    ----------
    run
        Takes an AnnData of its own, with molecules in ``X`` (CSR, cells × genes), and
        :class:`Options`; returns rates of that shape, not negative and on a linear scale, or for
        reads also :class:`Logs`. Further arguments are for the benchmarks.
    modules
        Imported before its clock starts.
    package
        What pip calls it, if it is not always installed.
    library_size
        That its rates are for; ``None`` for the cell's own.
    latent
        Key of ``obsm`` under which it leaves a latent.
    default_for
        Noise models for which it runs when it is not asked for by name.
    has_posterior
        Whether a gamma-Poisson posterior is part of the method.
    """

    run: Callable[..., Rates | Logs]
    modules: tuple[str, ...] = ()
    package: str | None = None
    library_size: float | None = None
    latent: str | None = None
    default_for: tuple[NoiseName, ...] = ("umi", "reads")
    has_posterior: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether the package is there; by its own name, as python-magic is a `magic` too."""
        try:
            return self.package is None or bool(distribution(self.package))
        except PackageNotFoundError:
            return False


def scaled_to_library_size(
    counts: sparse.csr_matrix, library_size: float | np.floating
) -> sparse.csr_matrix:
    """Counts scaled to one library size; a cell without molecules stays zero."""
    total = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    return sparse.csr_matrix(sparse.diags(library_size / total) @ counts)
