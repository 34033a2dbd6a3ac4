"""Time and memory against the number of cells, in memory and beyond it.

    python benchmarks/scale.py --out scale.csv

Each line is a process of its own on synthetic counts in an .h5ad file as anndata writes it;
its clock starts after the imports, CPU seconds are those of all its threads (not of processes that
it starts), and its memory is the most that was resident. The methods take turns and the medians
over rounds are kept. A method that fails, as by want of memory, has a line without a time.

zero-shot   impute(max_epochs=0), a dense layer of all genes in memory
scdtl       impute(), likewise
store       impute(out=...) of a backed file
store-zero  the same without training
others      as in accuracy.py, all genes out
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from importlib import import_module
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from _cost_tables import scale as scale_table
from _job import can_run, peak_mb
from _peers import METHODS
from scipy import sparse

PEERS = ("magic", "alra", "scvi-30")
OWN = ("zero-shot", "scdtl", "store", "store-zero")
# Genes, cells, and methods that are tried at this size.
SIZES = (
    (12_000, 1_000, (*OWN[:3], "magic", "alra", "scvi-30")),
    (5_000, 5_000, ("scdtl", "scvi-30")),
    (12_000, 10_000, (*OWN[:3], "magic", "alra")),
    (12_000, 50_000, ("store", "store-zero", "magic", "alra")),
    (2_000, 10_000, ("store", "store-zero", "magic", "alra")),
    (2_000, 100_000, ("store", "store-zero", "magic", "alra")),
    (2_000, 1_000_000, ("store", "store-zero")),
)
ONCE_FROM = 50_000  # cells, where a round takes many minutes
N_CLUSTERS = 8
BLOCK = 5_000


def write_counts(path: Path, n_cells: int, n_genes: int) -> None:
    """Poisson counts of eight kinds of cells, with bulk's co-expression; 12 % are not zero."""
    from scdtl.pretrained import load_weights

    random, weights = np.random.default_rng(0), load_weights("human")
    common = random.lognormal(0, 2, n_genes)
    names, loadings = weights.genes[:n_genes], weights.tensors["co_expression"][:n_genes]
    log_ratios = random.normal(size=(N_CLUSTERS, loadings.shape[1])) @ loadings.T
    programs = common * np.exp(0.7 * log_ratios / log_ratios.std())
    proportions = programs / programs.sum(1, keepdims=True)
    blocks = []
    for first in range(0, n_cells, BLOCK):
        n = min(BLOCK, n_cells - first)
        kind = random.integers(N_CLUSTERS, size=n)
        depth = 0.3 * n_genes * random.lognormal(0, 0.3, (n, 1))
        rates = (depth * proportions[kind]).astype(np.float32)
        blocks.append(sparse.csr_matrix(random.poisson(rates), dtype=np.float32))
    counts = sparse.vstack(blocks, format="csr")
    ad.AnnData(counts, var=pd.DataFrame(index=names)).write_h5ad(path)


def run(path: str, method: str, folder: str) -> dict[str, float]:
    """Impute here."""
    warnings.simplefilter("ignore")
    if method in OWN:
        from scdtl.pp import impute

        options = {"max_epochs": 0} if "zero" in method else {}
        backed = method.startswith("store")
        if backed:
            import_module("dask.array")
            import_module("zarr")
            options["out"] = str(Path(folder, "out.zarr"))
        adata = ad.read_h5ad(path, backed="r" if backed else None)
        start, cpu = time.perf_counter(), time.process_time()
        impute(adata, verbose=False, **options)
    else:
        for module in METHODS[method].needs:
            import_module(module)
        adata = ad.read_h5ad(path)
        start, cpu = time.perf_counter(), time.process_time()
        METHODS[method].run(adata, 0)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": peak_mb(),
    }


def in_new_process(path: Path, method: str, timeout: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = [sys.executable, __file__, "--run", str(path), method, folder]
        try:
            finished = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"not within {timeout / 60:.0f} minutes"}
        if finished.returncode < 0:
            return {"failed": "killed for want of memory"}
        if finished.returncode:
            return {"failed": (finished.stderr.strip().splitlines() or ["no message"])[-1]}
        return json.loads(finished.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3, help="below 50,000 cells")
    parser.add_argument("--cells", type=int, nargs="*", help="only these numbers of cells")
    parser.add_argument("--genes", type=int, nargs="*", help="only these numbers of genes")
    parser.add_argument("--minutes", type=float, default=60, help="time limit of a line")
    parser.add_argument("--folder", help="where to write counts and results")
    parser.add_argument("--out", type=Path, help="CSV file")
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(run(*arguments.run)))
        return
    rows = []
    for n_genes, n_cells, methods in SIZES:
        if n_cells not in (arguments.cells or [n_cells]):
            continue
        if n_genes not in (arguments.genes or [n_genes]):
            continue
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            path = Path(folder, "counts.h5ad")
            write_counts(path, n_cells, n_genes)
            for round_ in range(1 if n_cells >= ONCE_FROM else arguments.rounds):
                for method in methods:
                    if method in PEERS and not can_run(method):
                        continue
                    cost = in_new_process(path, method, 60 * arguments.minutes)
                    row = {"genes": n_genes, "cells": n_cells, "method": method, "round": round_}
                    rows.append(row | cost)
                    print(rows[-1], file=sys.stderr, flush=True)
                    if arguments.out:
                        pd.DataFrame(rows).to_csv(arguments.out, index=False)
    print(scale_table(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
