"""scVI, by scvi-tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scdtl.tl.peers._peer import Options, Peer

if TYPE_CHECKING:
    from anndata import AnnData

    from scdtl.tl.peers._peer import Rates

_N_DRAWS = 10
_BATCH_SIZE = 128


def scvi(
    cells: AnnData, options: Options, max_epochs: int | None = None, accelerator: str = "auto"
) -> Rates:
    """scVI, negative binomial, its own number of epochs; the mean of draws of the latent cell."""
    from scvi.model import SCVI

    from scdtl._compat import forget_anndata, quiet_lightning
    from scdtl._random import local_seed

    # scvi-tools would split by its global seed, or without one at random.
    order = np.random.default_rng(options.seed).permutation(cells.n_obs)
    n_validation = cells.n_obs // 10
    split = [order[n_validation:], order[:n_validation], np.array([], dtype=order.dtype)]
    proportions = np.zeros(cells.shape, dtype=np.float32)
    with local_seed(options.seed), quiet_lightning():
        try:
            SCVI.setup_anndata(cells, batch_key=options.batch_key)
            model = SCVI(cells, gene_likelihood="nb")
            model.train(
                max_epochs=max_epochs,
                accelerator=accelerator,
                enable_progress_bar=False,
                batch_size=_BATCH_SIZE
                + (len(split[0]) % _BATCH_SIZE == 1),  # one cell has no spread
                datasplitter_kwargs={"external_indexing": split},
            )
            for _ in range(_N_DRAWS):
                proportions += model.get_normalized_expression(return_numpy=True) / _N_DRAWS
            cells.obsm["X_scVI"] = model.get_latent_representation()
            return proportions
        finally:
            forget_anndata(SCVI, cells)


PEER = Peer(
    scvi,
    modules=("scvi.model",),
    package="scvi-tools",
    library_size=1,
    latent="X_scVI",
    default_for=(),  # slow
)
