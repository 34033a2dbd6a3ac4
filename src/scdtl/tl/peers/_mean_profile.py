"""The mean profile of all cells, the simplest prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scdtl.data._counts import gene_totals
from scdtl.tl._scores import mean_of_logs
from scdtl.tl.peers._peer import Logs, Options, Peer

if TYPE_CHECKING:
    from anndata import AnnData

    from scdtl.tl.peers._peer import Rates


def mean_profile(cells: AnnData, options: Options) -> Rates | Logs:
    """The mean of all cells; one row, seen by all cells.

    For molecules, the sum of the counts with 0.5 added per gene; for reads, the mean of the
    logarithms.
    """
    if options.noise == "reads":
        return Logs(np.broadcast_to(mean_of_logs(cells.X), cells.shape))
    profile = gene_totals(cells.X) + 0.5
    return np.broadcast_to(profile / profile.sum(), cells.shape)


PEER = Peer(mean_profile, library_size=1)
