"""The mean profile: what anyone knows who sees no cell in particular."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scdtl.data._counts import gene_totals
from scdtl.tl.peers._peer import Options, Peer

if TYPE_CHECKING:
    from anndata import AnnData

    from scdtl.tl.peers._peer import Rates


def mean_profile(cells: AnnData, options: Options) -> Rates:
    """The mean profile of all cells, 0.5 molecules added per gene; one row, seen by all cells."""
    profile = gene_totals(cells.X) + 0.5
    return np.broadcast_to(profile / profile.sum(), cells.shape)


PEER = Peer(mean_profile, library_size=1)
