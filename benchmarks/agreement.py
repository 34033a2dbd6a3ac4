"""Imputed cells against truth from other samples: bulk profiles and marker genes.

    python benchmarks/agreement.py DATA_FOLDER BULK_FOLDER --out agreement.csv

Two parts, `--parts bulk markers`. Peers have two lines, as in `accuracy.py`; the method
"observed" is the raw counts.

bulk: all cells and molecules. Each cell with a counterpart in a bulk table is compared with the
mean profile of its type there, on log1p of counts per million and on the genes that both have;
scores are medians over cells. The bulk weights "human" were trained on these very tables, so
what counts is the line "scdtl-no-bulk".

profile_pearson, profile_spearman   of the whole profile; most of it is common to all types
special_pearson, special_spearman   of the deviation from the mean over types, in cells and bulk

markers: half of the cells of each group, thinned to 20 % of their molecules. Truth is from the
other half at full depth: of the genes that a Wilcoxon test finds on the raw counts (FDR below
1 %), the 100 of largest fold change. Genes are ranked by the difference of the group's mean
log1p(CP10k) to that of all other cells.

average_precision   mean over groups with at least 10 markers; chance: of a random order
groups              how many there are
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from _agreement import PANELS, with_bulk, with_markers
from _cell_tables import agreement
from _peers import DEFAULT_METHODS, METHODS
from _report import Results, installed
from _scores import BULK, MARKERS

LABELLED_UMI = ("pbmc_sorted_10x", "mixology_5cl_celseq2", "jurkat_293t_10x")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of .h5ad files with counts in X")
    parser.add_argument("bulk_folder", type=Path, help="folder of .h5ad files of bulk tables")
    parser.add_argument("--parts", nargs="+", default=[BULK, MARKERS], choices=[BULK, MARKERS])
    parser.add_argument("--datasets", nargs="+", metavar="NAME", help="those of a part by default")
    parser.add_argument("--depth", type=float, default=0.2, help="of the cells for the markers")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--methods", nargs="+", default=["observed", *DEFAULT_METHODS], choices=list(METHODS)
    )
    parser.add_argument("--out", type=Path, help="CSV file for every row")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    results = Results(arguments.out)
    methods = installed(arguments.methods)
    with_truth = {
        BULK: dict.fromkeys(panel.dataset for panel in PANELS.values()),
        MARKERS: dict.fromkeys(LABELLED_UMI),
    }
    for part in arguments.parts:
        for name in with_truth[part]:
            if arguments.datasets is not None and name not in arguments.datasets:
                continue
            for seed in arguments.seeds:
                if part == BULK:
                    adata = with_bulk(arguments.folder, arguments.bulk_folder, name)
                else:
                    adata = with_markers(arguments.folder, name, arguments.depth, seed)
                for method in methods:
                    results.add(adata, method, seed, part, part=part, dataset=name)
    if results.rows:
        print(agreement(pd.DataFrame(results.rows)))
    return len(results.failures) > 0


if __name__ == "__main__":
    sys.exit(main())
