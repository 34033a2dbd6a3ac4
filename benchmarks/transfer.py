"""What bulk is worth: the same network from scratch and from bulk, in few and in many cells.

    python benchmarks/transfer.py DATA_FOLDER --out transfer.csv

Each draw takes cells and then molecules (90 : 10) at random. All lines have the same network,
early stopping and posterior; scores are those of `accuracy.py`, on the molecules set aside.

no bulk                 from scratch
start only              from bulk, without MMD
start, MMD              from bulk: the default
frozen decoder first    the decoder's gene vectors stay fixed for 60 steps
slow gene matrices      layer-wise rates: gene matrices at a fifth of the rate
pulled to the start     weight decay towards the bulk weights, not towards zero
pseudo-cells replayed   cells distilled from the bulk decoder are trained on as well
zero-shot               from bulk, not trained
mean profile            every cell is the mean of all, under the same posterior
"""

from __future__ import annotations

import argparse
import sys
import warnings
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pandas as pd
from _data import HELD_OUT, UMI_DATASETS, split
from _posterior import posterior
from _transfers import MODELS
from _umi_tables import transfer, weights

import scdtl
from scdtl import metrics

if TYPE_CHECKING:
    from anndata import AnnData

ALL_DATASETS = (*UMI_DATASETS, "pollen_11types_smarter")
NO_BULK, ZERO_SHOT, MEAN = "no bulk", "zero-shot", "mean profile"
LINES = [NO_BULK, *MODELS, ZERO_SHOT, MEAN]


def score(adata: AnnData, rates: np.ndarray) -> dict[str, float]:
    held_out = adata.layers[HELD_OUT]
    gene_d2 = metrics.gene_deviance_explained(held_out, rates, adata.X)
    return {
        "poisson_score": metrics.poisson_score(held_out, rates, adata.X),
        "gene_d2": float(np.nanmean(gene_d2)),
    }


def run(adata: AnnData, line: str, bulk: str, seed: int) -> dict[str, Any]:
    """Scores of one line."""
    if line == MEAN:
        counts = adata.X.toarray()
        rates = counts.sum(1, keepdims=True) * counts.sum(0) / counts.sum()
        return score(adata, posterior(counts, rates).mean)
    options: dict[str, Any] = {"bulk": None if line == NO_BULK else bulk}
    if line == ZERO_SHOT:
        options["max_epochs"] = 0
    start = perf_counter()
    with mock.patch("scdtl.pp._training.SCDTL", MODELS.get(line, scdtl.SCDTL)):
        result = scdtl.pp.impute(
            adata, scale="counts", random_state=seed, copy=True, verbose=False, **options
        )
    seconds = perf_counter() - start
    return {
        **score(adata, np.asarray(result.layers["scdtl"])),
        "seconds": seconds,
        "dropped": result.uns["scdtl"]["weights"].get("dropped", False),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of .h5ad files with counts in X")
    parser.add_argument("--datasets", nargs="+", default=ALL_DATASETS, metavar="NAME")
    parser.add_argument("--n-cells", nargs="+", type=int, default=[50, 100, 300, 1_000])
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--lines", nargs="+", default=LINES, choices=LINES)
    parser.add_argument("--bulk", nargs="+", default=["human"], help="weights, by name or path")
    parser.add_argument("--out", type=Path, help="CSV file for every row")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    warnings.simplefilter("ignore")
    rows: list[dict[str, Any]] = []
    for name in arguments.datasets:
        for n_cells in arguments.n_cells:
            for draw in arguments.draws:
                adata = split_at_most(arguments.folder, name, n_cells, draw)
                if adata is None:
                    continue
                for bulk, line in product(arguments.bulk, arguments.lines):
                    if line in (NO_BULK, MEAN) and bulk != arguments.bulk[0]:
                        continue  # the same for all
                    row = run(adata, line, bulk, draw)
                    labels = {"dataset": name, "cells": n_cells, "seed": draw, "line": line}
                    rows.append({**labels, "bulk": Path(bulk).stem, **row})
                    print({**labels, **row}, file=sys.stderr, flush=True)
                if arguments.out is not None:
                    pd.DataFrame(rows).to_csv(arguments.out, index=False)
    table = transfer if len(arguments.bulk) == 1 else weights
    print(table(pd.DataFrame(rows)))
    return 0


def split_at_most(folder: Path, name: str, n_cells: int, draw: int) -> AnnData | None:
    """A draw of cells, or `None` where a data set has too few of them."""
    try:
        return split(folder, name, n_cells, draw)
    except ValueError:
        return None


if __name__ == "__main__":
    sys.exit(main())
