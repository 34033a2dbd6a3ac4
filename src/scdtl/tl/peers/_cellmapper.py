"""CellMapper, mapping the cells to themselves."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scdtl.tl.peers._peer import Options, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from scdtl.tl.peers._peer import Rates

_N_NEIGHBOURS = 30


def cellmapper(cells: AnnData, options: Options) -> Rates:
    """Counts of neighbours, weighed as its author has it denoise for OpenProblems.

    openproblems-bio/task_denoising, src/methods/cellmapper/script.py: ``normalize_total(1e4)``,
    ``log1p``, ``highly_variable_genes``, ``pca`` (50 components), ``compute_neighbors(
    use_rep="X_pca")`` (30 neighbours), ``compute_mapping_matrix(kernel_method="umap")`` (also the
    package's default for mapping to itself) and ``map_layers(key="counts", t=3)``: counts after
    three steps. It stops where there are fewer cells than neighbours or one variable gene; here it
    takes fewer neighbours then, or all genes.
    """
    import scanpy as sc
    from cellmapper import CellMapper

    if min(cells.shape) < 3:  # no principal components
        return cells.X
    with _undisturbed():
        mapped = cells.copy()
        mapped.layers["counts"] = mapped.X.copy()
        sc.pp.normalize_total(mapped, target_sum=1e4)
        sc.pp.log1p(mapped)
        sc.pp.highly_variable_genes(mapped)
        if mapped.var["highly_variable"].sum() < 2:
            del mapped.var["highly_variable"]
        sc.pp.pca(mapped, random_state=options.seed)
        mapper = CellMapper(mapped)
        mapper.compute_neighbors(
            n_neighbors=min(_N_NEIGHBOURS, cells.n_obs),
            use_rep="X_pca",
            random_state=options.seed,
        )
        mapper.compute_mapping_matrix(kernel_method="umap")
        mapper.map_layers(key="counts", t=3)
        return mapper.query_imputed.X


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hide the package's reports and its libraries' warnings, and keep torch's threads."""
    from cellmapper import logger

    torch = sys.modules.get("torch")
    n_threads = torch and torch.get_num_threads()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        if torch:  # scanpy's numba has set the number of all OpenMP threads
            torch.set_num_threads(n_threads)


PEER = Peer(cellmapper, modules=("cellmapper", "scanpy"), package="cellmapper")
