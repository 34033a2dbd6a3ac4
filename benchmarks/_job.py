"""Runs one method on one data set in a process of its own, for its time and peak memory.

python _job.py COUNTS.h5ad METHOD SEED held_out|reference RESULT.json
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
from _peers import METHODS
from _scores import SCORES

if TYPE_CHECKING:
    from _peers import Method
    from _scores import Row


def find(name: str) -> Method:
    """A method to compare, or a variant of scdtl (whose file imports torch)."""
    if name in METHODS:
        return METHODS[name]
    return import_module("_variants").VARIANTS[name]


def can_run(method: str) -> bool:
    """Whether the libraries that a method needs are installed."""
    return all(find_spec(module.split(".")[0]) for module in METHODS[method].needs)


def measure(adata: ad.AnnData, method: str, seed: int, scores: str) -> list[Row]:
    """Run a method in a new process and return its rows; raises RuntimeError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        counts, result = Path(folder, "counts.h5ad"), Path(folder, "result.json")
        adata.write_h5ad(counts)
        command = [sys.executable, __file__, str(counts), method, str(seed), scores, str(result)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            raise RuntimeError((finished.stderr.strip().splitlines() or ["no message"])[-1])
        return json.loads(result.read_text())


def run(adata: ad.AnnData, name: str, seed: int, scores: str) -> list[Row]:
    """Run a method here, on the training counts alone."""
    method = find(name)
    for module in method.needs:
        import_module(module)
    training = ad.AnnData(adata.X.copy(), var=adata.var.copy())
    before = peak_mb()
    start = time.perf_counter()
    imputed = method.run(training, seed)
    cost: Row = {
        "seconds": time.perf_counter() - start,
        "train_seconds": float("nan") if imputed.train_seconds is None else imputed.train_seconds,
        "peak_mb": peak_mb(),
        "added_mb": peak_mb() - before,
    }
    rows = SCORES[scores](adata, imputed, has_posterior=method.has_posterior)
    return [{"seed": seed, "method": name, **row, **cost} for row in rows]


def peak_mb() -> float:
    """Most resident memory of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss on Linux starts from the parent's peak
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def main(counts: str, method: str, seed: str, scores: str, result: str) -> None:
    warnings.simplefilter("ignore")
    rows = run(ad.read_h5ad(counts), method, int(seed), scores)
    Path(result).write_text(json.dumps(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
