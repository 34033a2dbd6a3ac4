"""Recovery of deep counts from their down-sampled version (the protocol of SAVER).

    python benchmarks/downsampling.py DATA_FOLDER --out downsampling.csv

`baron_saver_ref.h5ad` holds the deep counts in X and counts at a tenth of the depth in
`layers["downsampled"]`. Each method sees the shallow counts.

gene_r, cell_r       median Pearson correlation with the deep counts per gene and per cell, of
                     log1p(counts per 10,000) of the rates
..._expected         the same, of the mean of that logarithm at the depth of the deep counts
gene_gene_error      mean absolute difference of the correlations of pairs of genes, between the
                     deep counts and counts drawn at their depth from the posterior
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from _data import REFERENCE, downsampled
from _peers import DEFAULT_METHODS, METHODS
from _report import Results, installed
from _umi_tables import downsampling as table


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder with baron_saver_ref.h5ad")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--methods", nargs="+", default=["observed", *DEFAULT_METHODS], choices=list(METHODS)
    )
    parser.add_argument("--out", type=Path, help="CSV file for every row")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    results = Results(arguments.out)
    adata = downsampled(arguments.folder)
    for seed in arguments.seeds:
        for method in installed(arguments.methods):
            results.add(adata, method, seed, REFERENCE, dataset="baron_saver_ref")
    if results.rows:
        print(table(pd.DataFrame(results.rows)))
    return len(results.failures) > 0


if __name__ == "__main__":
    sys.exit(main())
