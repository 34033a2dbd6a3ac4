"""Accuracy on held-out molecules, time and memory, against peers on real counts.

    python benchmarks/accuracy.py DATA_FOLDER --out accuracy.csv

Each data set is thinned 90 : 10 by molecules, once per seed; every method sees the 90 % only, in
a process of its own. Peers have two lines: as published, and with their rates rescaled to the
cell's depth under the posterior that scdtl uses. Needs the extra `bench`.

poisson_score       0 no denoising, 1 the held-out molecules (`scdtl.metrics.poisson_score`)
gene_d2             mean over genes with at least 20 held-out molecules of the deviance explained
                    beyond the mean profile (`scdtl.metrics.gene_deviance_explained`)
mse_score           1 - MSE / MSE of no denoising, on log1p(counts per 10,000)
mse_score_expected  the same, for the mean of log1p(CP10k) of counts at the held-out depth
openproblems_*      metrics of OpenProblems as shipped, which flatter: see `_scores.py`; for scdtl
                    also of its rates times 1e-6 and to the power of 1.3
seconds             the method's time without imports; train_seconds: a network's training alone
peak_mb, added_mb   peak memory of the process; beyond libraries and data
"""

from __future__ import annotations

import argparse
import sys

from _data import HELD_OUT, add_split_arguments, split
from _peers import DEFAULT_METHODS, METHODS
from _report import Results, installed

SCORES = [
    "poisson_score",
    "gene_d2",
    "mse_score",
    "mse_score_expected",
    "openproblems_poisson",
    "openproblems_mse",
]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_split_arguments(parser)
    parser.add_argument("--methods", nargs="+", default=DEFAULT_METHODS, choices=list(METHODS))
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    results = Results(arguments.out)
    methods = installed(arguments.methods)
    for name in arguments.datasets:
        for n_cells in arguments.n_cells:
            for seed in arguments.seeds:
                adata = split(arguments.folder, name, n_cells, seed)
                labels = {"dataset": name, "cells": "all" if n_cells is None else n_cells}
                for method in methods:
                    results.add(adata, method, seed, HELD_OUT, **labels)
    results.print_means(["dataset", "cells"], SCORES)
    return len(results.failures) > 0


if __name__ == "__main__":
    sys.exit(main())
