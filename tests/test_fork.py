"""Imputation in a forked process, after the parent's threads have worked."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import multiprocessing, scdtl

def work(seed):
    adata = scdtl.datasets.toy(n_obs=200, n_vars=300, seed=seed)
    scdtl.pp.impute(adata, bulk=None, max_epochs=1, verbose=False)
    return float(adata.layers["scdtl"].mean())

here = [work(0), work(1)]
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(max(abs(a - b) for a, b in zip(here, pool.map(work, [0, 1]))) < 1e-4)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_a_forked_process_does_not_hang():
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert run.stdout == "True\n"
