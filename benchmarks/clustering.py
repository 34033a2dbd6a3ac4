"""Known cell types after imputation, against plain PCA of the raw counts.

    python benchmarks/clustering.py DATA_FOLDER --out clustering.csv

Data sets with labels, all molecules. A seed draws 90 % of the cells and is the seed of the
method, of PCA and of Leiden. There are two lines: "PCA", the first 30 principal components
of log1p(CP10k) of a method's rates on the 2,000 genes that are most variable in the raw counts
(scanpy's flavour "seurat"; values are not scaled), and "latent", what the method itself calls its
latent. The method "observed" is PCA of the raw counts.

ari, nmi      of Leiden clusters on the graph of 15 neighbours, mean over resolutions 0.2, 0.4,
              ..., 1.6
best_ari      the highest of these, by a resolution chosen with the labels in view
equal_ari     at the resolution that gives as many clusters as there are labels, found by bisection
              (equal_clusters, where no resolution gives exactly as many)
clusters      how many there are, mean over resolutions
knn_accuracy  share of cells whose label is the most frequent one among their 15 nearest cells
silhouette    of the labels

The mean profile is not among the methods by default: all its cells are the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from _cell_tables import clustering
from _clusters import draw_labelled_cells, labelled_cells
from _peers import DEFAULT_METHODS, METHODS
from _report import Results, installed
from _scores import LABELS

LABELLED = (
    "mixology_5cl_celseq2",
    "jurkat_293t_10x",
    "pbmc_sorted_10x",
    "pollen_11types_smarter",
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of .h5ad files with counts in X")
    parser.add_argument("--datasets", nargs="+", default=LABELLED, metavar="NAME")
    parser.add_argument("--share", type=float, default=0.9, help="of the cells that is drawn")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    methods = [method for method in DEFAULT_METHODS if method != "mean"]
    parser.add_argument("--methods", nargs="+", default=methods, choices=list(METHODS))
    parser.add_argument("--out", type=Path, help="CSV file for every row")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    results = Results(arguments.out)
    methods = installed(dict.fromkeys(["observed", *arguments.methods]))
    for name in arguments.datasets:
        cells = labelled_cells(arguments.folder, name)
        for seed in arguments.seeds:
            adata = draw_labelled_cells(cells, arguments.share, seed)
            for method in methods:
                results.add(adata, method, seed, LABELS, dataset=name)
    if results.rows:
        print(clustering(pd.DataFrame(results.rows)))
    return len(results.failures) > 0


if __name__ == "__main__":
    sys.exit(main())
