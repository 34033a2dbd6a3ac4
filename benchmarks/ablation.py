"""What each part of scdtl is good for: all of it, then one part off at a time.

    python benchmarks/ablation.py DATA_FOLDER --out ablation.csv

Data, splits, scores and columns of the CSV file are those of `accuracy.py`. The last column of a
table is the mean over data sets of the difference to the full model, in the same split.

without bulk              the DAE starts at random, and there is no MMD
without co-expression     bulk speaks by the DAE alone
without adaptation        what bulk says of each gene is not corrected by the cells
without MMD               starts from bulk, but is not aligned with it
without U-Net             the DAE branch alone
without attention         the mean of the two branches' logits
without the U-Net's loss  only the fused prediction is trained
without scale             log-ratios are not multiplied by a fitted factor at the end
without posterior         the prediction is the result; early stopping and scale still look at the
                          posterior
cells held out            10 % of the cells, not of the molecules, tell when to stop and set the
                          dispersion, adaptation and scale; all molecules of the others are
                          trained on
without early stopping    all minibatches: the result is the last average of the weights
without annealing         the learning rate stays as it is
without averaging         validation and result take the weights of the step itself
without half precision    training computes in 32 bits
"""

from __future__ import annotations

import argparse
import sys

import pandas as pd
from _data import HELD_OUT, add_split_arguments, split
from _report import Results
from _umi_tables import ablation
from _variants import FULL, VARIANTS


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_split_arguments(parser)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    results = Results(arguments.out)
    variants = dict.fromkeys([FULL, *arguments.variants])
    for name in arguments.datasets:
        for n_cells in arguments.n_cells:
            for seed in arguments.seeds:
                adata = split(arguments.folder, name, n_cells, seed)
                labels = {"dataset": name, "cells": "all" if n_cells is None else n_cells}
                for variant in variants:
                    results.add(adata, variant, seed, HELD_OUT, **labels)
    if results.rows:
        print(ablation(pd.DataFrame(results.rows)))
    return len(results.failures) > 0


if __name__ == "__main__":
    sys.exit(main())
