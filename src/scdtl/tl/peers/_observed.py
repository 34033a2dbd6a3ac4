"""No denoising."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scdtl.tl.peers._peer import Options, Peer

if TYPE_CHECKING:
    from anndata import AnnData

    from scdtl.tl.peers._peer import Rates


def observed(cells: AnnData, options: Options) -> Rates:
    """The counts themselves."""
    return cells.X


PEER = Peer(observed)
