"""MAGIC on logarithms, which suit reads better than square roots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scdtl.tl._scores import per_10k
from scdtl.tl.peers._magic import diffused
from scdtl.tl.peers._peer import Logs, Options, Peer, scaled_to_library_size

if TYPE_CHECKING:
    from anndata import AnnData

    from scdtl.tl.peers._peer import Rates


def magic_on_logs(cells: AnnData, options: Options, t: int | str = 3) -> Rates | Logs:
    """MAGIC on log1p of counts per 10,000, the other transformation that its authors name."""
    logs = diffused(scaled_to_library_size(cells.X, 1e4).log1p(), options.seed, t)
    if options.noise == "reads":
        return Logs(logs)
    rates = np.expm1(logs)  # which sum to less: means of logarithms lie below those of counts
    return rates * per_10k(rates)[:, None]


PEER = Peer(
    magic_on_logs,
    modules=("magic",),
    package="magic-impute",
    library_size=1e4,
    default_for=("reads",),
)
