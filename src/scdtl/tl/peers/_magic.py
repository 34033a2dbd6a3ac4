"""MAGIC, by magic-impute."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from scdtl.tl.peers._peer import Options, Peer, scaled_to_library_size

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse

    from scdtl.tl.peers._peer import Rates


def magic(cells: AnnData, options: Options, t: int | str = 3) -> Rates:
    """MAGIC on square roots of library-size-normalised counts, squared back.

    ``t=3`` is the default of magic-impute 3.0, ``t="auto"`` that of the article. The tutorial of
    magic-impute: ``scprep.normalize.library_size_normalize``, ``scprep.transform.sqrt``,
    ``magic.MAGIC().fit_transform(data)``.
    """
    roots = scaled_to_library_size(cells.X, 1.0).sqrt()
    return np.square(diffused(roots, options.seed, t))


def diffused(expression: sparse.csr_matrix, seed: int, t: int | str = 3) -> NDArray[np.floating]:
    """Transformed counts, smoothed by MAGIC; never negative."""
    from magic import MAGIC

    operator = MAGIC(t=t, random_state=seed, n_jobs=1, verbose=0)
    with warnings.catch_warnings():  # of genes without molecules and of MAGIC's own libraries
        warnings.simplefilter("ignore")
        return np.maximum(operator.fit_transform(expression), 0)


PEER = Peer(magic, modules=("magic",), package="magic-impute", library_size=1)
