"""Whole calls on a GPU, by precision, and on the CPU of the same machine.

    python benchmarks/gpu.py --out gpu.csv

Counts are those of `scale.py`, with bulk's co-expression. All calls are made in one process, each
after one of its kind that is not counted, so that loading of libraries and kernels stays out. It
needs a GPU, so that all.py leaves it out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import anndata as ad
import pandas as pd
import torch
from _cost_tables import gpu as gpu_table
from scale import write_counts

from scdtl.pp import impute

N_GENES = 12_000
# Accelerator, Lightning's precision, and that of 32-bit matrix products.
MODES = {
    "GPU, 32 bits": ("gpu", "32-true", "highest"),
    "GPU, TF32": ("gpu", "32-true", "high"),
    "GPU, bfloat16": ("gpu", "bf16-mixed", "highest"),
    "CPU, as by default": ("cpu", None, "highest"),
}


def measure(adata: ad.AnnData, mode: str) -> dict[str, float]:
    """Seconds of the second of two calls, and the share of held-out deviance that it explains."""
    accelerator, precision, of_products = MODES[mode]
    torch.set_float32_matmul_precision(of_products)
    options = {} if precision is None else {"train_kwargs": {"precision": precision}}
    for _ in range(2):
        cells = adata.copy()
        start = time.perf_counter()
        model = impute(cells, accelerator=accelerator, verbose=False, return_model=True, **options)
        seconds = time.perf_counter() - start  # the layer is on the CPU: the GPU is done
    return {"seconds": seconds, "explained": model.held_out_["deviance_explained"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--out", type=Path, help="CSV file")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU.")
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    rows = []
    for n_cells in arguments.cells:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "counts.h5ad")
            write_counts(path, n_cells, N_GENES)
            adata = ad.read_h5ad(path)
        for mode in MODES:
            row = {"mode": mode, "genes": N_GENES, "cells": n_cells}
            row |= {"gpu": torch.cuda.get_device_name(), "threads": arguments.threads}
            rows.append(row | measure(adata, mode))
            if arguments.out:
                pd.DataFrame(rows).to_csv(arguments.out, index=False)
    print(gpu_table(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
