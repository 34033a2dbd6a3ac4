"""Entries masked, as in the article of scDTL: values that were set to zero are to be restored.

    python benchmarks/masking.py DATA_FOLDER --out masking.csv

10, 20, 30 and 40 % of the non-zero entries are set to zero, at random by the seed; every method
sees the rest, in a process of its own. Values are log1p of counts per 10,000, with the unmasked
total of the cell as its depth; logarithms that a method gives itself are taken as they are. As
every masked entry is non-zero, E[x] is not the value to predict: the line "zero-truncated" is the
mean given that the count is not zero, of a negative binomial with the method's mean (of scdtl:
`own_counts=False`, from the other genes alone) at the unmasked depth; its dispersion is by
moments, of the entries that were not masked, for all methods alike.

rmse, l1, pearson   at the masked entries alone
auc                 masked entries against those that were zero before, at most 200,000 of each,
                    by the value that a method gives, on the line "zero-truncated" by the chance
                    of a count; of scdtl by its probability of a dropout, from all genes and from
                    the other genes alone
false_fills         of these true zeros the share above the threshold at which half of the masked
                    entries are found
article_rmse, article_pearson
                    over the whole matrix, where all other entries are taken from the truth:
                    the article's scores, which flatter
masked              share of the non-zero entries that are masked, in %

The method "gene-mean" needs no model: the mean of the gene's other non-zero values.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from _data import UMI_DATASETS, keep_detected_genes, read_counts
from _entry_tables import masking
from _masked import gene_mean_scores, mask
from _peers import DEFAULT_METHODS, METHODS
from _report import Results, installed
from _scores import UNMASKED


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of .h5ad files with counts in X")
    parser.add_argument("--datasets", nargs="+", default=UMI_DATASETS, metavar="NAME")
    parser.add_argument("--masked", nargs="+", type=int, default=[10, 20, 30, 40], metavar="%")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    methods = [*DEFAULT_METHODS, "magic-logs"]
    parser.add_argument("--methods", nargs="+", default=methods, choices=list(METHODS))
    parser.add_argument("--out", type=Path, help="CSV file for every row")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    results = Results(arguments.out)
    methods = installed(arguments.methods)
    for name in arguments.datasets:
        full = keep_detected_genes(read_counts(arguments.folder, name))
        for share in arguments.masked:
            for seed in arguments.seeds:
                adata = mask(full, share / 100, seed)
                labels = {"dataset": name, "masked": share}
                gene_mean = {"seed": seed, "method": "gene-mean", "line": "non-zero entries"}
                results.rows.append({**labels, **gene_mean, **gene_mean_scores(adata)})
                for method in methods:
                    results.add(adata, method, seed, UNMASKED, **labels)
    print(masking(pd.DataFrame(results.rows)))
    return len(results.failures) > 0


if __name__ == "__main__":
    sys.exit(main())
