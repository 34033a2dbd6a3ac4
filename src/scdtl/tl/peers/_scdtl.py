"""scdtl itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scdtl.tl.peers._peer import Logs, Options, Peer

if TYPE_CHECKING:
    from anndata import AnnData

    from scdtl.tl.peers._peer import Rates


def scdtl(cells: AnnData, options: Options) -> Rates | Logs:
    """Posterior mean of this package, at the cell's library size.

    For reads, the prediction from the other genes: held-out entries count as not measured, not as
    zeros.
    """
    from scdtl.pp import impute

    of_reads = options.noise == "reads"
    impute(
        cells,
        noise=options.noise,
        bulk=options.bulk,
        batch_key=options.batch_key,
        scale="log1p" if of_reads else "counts",
        own_counts=not of_reads,
        return_dropout=of_reads,
        random_state=options.seed,
        **options.impute_kwargs,
    )
    imputed = cells.layers["scdtl"]
    return Logs(imputed, cells.layers["scdtl_dropout"]) if of_reads else imputed


PEER = Peer(scdtl, modules=("scdtl.pp",), latent="X_scdtl", has_posterior=True)
