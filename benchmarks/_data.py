"""Real counts for the benchmarks: reading, drawing cells, setting molecules aside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    import argparse

UMI_DATASETS = (
    "pbmc1k_v3_10x",
    "pbmc_sorted_10x",
    "mixology_5cl_celseq2",
    "jurkat_293t_10x",
    "baron_saver_ref",
)
"""Files (less `.h5ad`) whose counts are molecules: X holds cells × genes."""

HELD_OUT = "held_out"
REFERENCE = "reference"


def add_split_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the benchmarks that set molecules aside: data, cells, seeds, output."""
    parser.add_argument("folder", type=Path, help="folder of .h5ad files with counts in X")
    parser.add_argument("--datasets", nargs="+", default=UMI_DATASETS, metavar="NAME")
    parser.add_argument("--n-cells", nargs="+", type=_n_cells, default=[None, 100])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help="CSV file for every row")


def _n_cells(text: str) -> int | None:
    """Parse a number of cells; `None` stands for all."""
    return None if text == "all" else int(text)


def read_counts(folder: Path, name: str) -> ad.AnnData:
    """Counts of one data set, as float32 CSR."""
    adata = ad.read_h5ad(folder / f"{name}.h5ad")
    adata.X = sparse.csr_matrix(adata.X, dtype=np.float32)
    return adata


def draw_cells(adata: ad.AnnData, n_cells: int, seed: int) -> ad.AnnData:
    """A random draw of cells, in their order in the data."""
    drawn = np.random.default_rng(seed).choice(adata.n_obs, n_cells, replace=False)
    return adata[np.sort(drawn)].copy()


def keep_detected_genes(adata: ad.AnnData, min_cells: int = 3) -> ad.AnnData:
    """Genes with a molecule in some cells of the data at hand."""
    detected = np.asarray((adata.X > 0).sum(axis=0)).ravel()
    return adata[:, detected >= min_cells].copy()


def set_molecules_aside(adata: ad.AnnData, seed: int, share: float = 0.1) -> ad.AnnData:
    """Split each count binomially: training molecules in X, the others in a layer."""
    training = adata.X.copy()
    random = np.random.default_rng(seed)
    training.data = random.binomial(training.data.astype(np.int64), 1 - share).astype(np.float32)
    held_out = adata.X - training
    training.eliminate_zeros()
    held_out.eliminate_zeros()
    return ad.AnnData(training, var=adata.var[[]], layers={HELD_OUT: held_out})


def split(folder: Path, name: str, n_cells: int | None, seed: int) -> ad.AnnData:
    """Training and held-out molecules of one data set; `None` takes all cells."""
    adata = read_counts(folder, name)
    if n_cells is not None:
        adata = draw_cells(adata, n_cells, seed)
    return set_molecules_aside(keep_detected_genes(adata), seed)


def downsampled(folder: Path, name: str = "baron_saver_ref") -> ad.AnnData:
    """Shallow counts in X, the deep counts of the same cells and genes in a layer."""
    adata = read_counts(folder, name)
    shallow = sparse.csr_matrix(adata.layers["downsampled"], dtype=np.float32)
    return ad.AnnData(shallow, var=adata.var[[]], layers={REFERENCE: adata.X})
