"""scdtl itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scdtl.tl.peers._peer import Options, Peer

if TYPE_CHECKING:
    from anndata import AnnData

    from scdtl.tl.peers._peer import Rates


def scdtl(cells: AnnData, options: Options) -> Rates:
    """Posterior mean of this package, at the cell's library size."""
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


PEER = Peer(scdtl, modules=("scdtl.pp",), latent="X_scdtl")
