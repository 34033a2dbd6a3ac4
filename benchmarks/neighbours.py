"""Few cells: the share of a cell's neighbours that are of its type.

    python benchmarks/neighbours.py DATA_FOLDER --out neighbours.csv

A seed draws cells of a data set with labels, and is the seed of the method. On log1p(CP10k) of a
method's rates in all genes, scanpy does what it does by default: `sc.pp.pca`, `sc.pp.neighbors`.

molecules       of a cell, median
same_type       share of a cell's neighbours that have its label, mean over cells
same_of_a_type  the same, mean over types of at least 2 % of the cells, so that rare types count

The method "observed" is the raw counts, "scdtl-latent" neighbours in `obsm["X_scdtl"]`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from _cell_tables import neighbours as table
from _clusters import labelled_cells
from _data import draw_cells, keep_detected_genes
from _peers import METHODS
from _report import installed
from _scores import LABELS, log_cp10k

if TYPE_CHECKING:
    from numpy.typing import NDArray

SETS = {
    "mouse_spleen_mca": "mouse",
    "pbmc_sorted_10x": "human",
    "mixology_5cl_celseq2": "human",
    "jurkat_293t_10x": "human",
    "pollen_11types_smarter": "human",
}
"""Data sets with labels, and the weights for them."""
COMPARED = ("observed", "magic", "alra", "cellmapper", "scdtl-no-bulk", "scdtl")
_RARE = 0.02


def shares(cells: ad.AnnData, types: NDArray[np.str_], **options: str) -> dict[str, float]:
    """Shares of neighbours of the same type."""
    sc.pp.neighbors(cells, **options)
    graph = cells.obsp["distances"].tocsr()
    same = np.array([np.mean(types[graph[i].indices] == types[i]) for i in range(cells.n_obs)])
    of_type = pd.Series(same).groupby(types).agg(["mean", "size"])
    often = of_type["size"] >= _RARE * cells.n_obs
    return {"same_type": same.mean(), "same_of_a_type": of_type["mean"][often].mean()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of .h5ad files with counts in X")
    parser.add_argument("--datasets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--n-cells", nargs="+", type=int, default=[100, 200, 300, 500, 1_000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=COMPARED, choices=list(METHODS))
    parser.add_argument("--out", type=Path, help="CSV file for every row")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("scdtl").setLevel(logging.ERROR)
    rows, methods = [], installed(arguments.methods)
    for name in arguments.datasets:
        cells = labelled_cells(arguments.folder, name)
        for n_cells in (n for n in arguments.n_cells if n <= cells.n_obs):
            for seed in arguments.seeds:
                drawn = draw_cells(cells, n_cells, seed)
                adata = keep_detected_genes(drawn)
                adata.uns["bulk"] = SETS[name]
                types = adata.obs[LABELS].to_numpy(dtype=str)
                for method in methods:
                    imputed = METHODS[method].run(adata.copy(), seed)
                    expression = ad.AnnData(log_cp10k(imputed.rates))
                    sc.pp.pca(expression)
                    row = {"dataset": name, "cells": n_cells, "seed": seed, "method": method}
                    row["molecules"] = np.median(np.asarray(drawn.X.sum(axis=1)))
                    rows.append(row | shares(expression, types))
                    if method == "scdtl":
                        latent = shares(ad.AnnData(imputed.latent), types, use_rep="X")
                        rows.append(row | {"method": "scdtl-latent"} | latent)
                    print(rows[-1], file=sys.stderr, flush=True)
                if arguments.out:
                    pd.DataFrame(rows).to_csv(arguments.out, index=False)
    print(table(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
