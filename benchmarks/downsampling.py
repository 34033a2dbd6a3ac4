"""Recovery of deep counts from their down-sampled version (the protocol of SAVER).

    python benchmarks/downsampling.py DATA_FOLDER --out downsampling.csv

`baron_saver_ref.h5ad` holds the deep counts in X and counts at a tenth of the depth in
`layers["downsampled"]`. Each method sees the shallow counts; gene_r and cell_r are the median
Pearson correlations with the deep counts per gene and per cell, on log1p(counts per 10,000).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from _data import REFERENCE, downsampled
from _peers import DEFAULT_METHODS, METHODS
from _report import Results, installed


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
    results.print_means(["dataset"], ["gene_r", "cell_r"])
    return len(results.failures) > 0


if __name__ == "__main__":
    sys.exit(main())
