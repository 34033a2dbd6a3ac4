"""Ctrl-C in a real process: training ends, and what was learned is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata
import numpy as np
import pytest

import scdtl

SCRIPT = """
import signal
import scdtl
from lightning.pytorch.callbacks import Callback

class Tell(Callback):
    def on_train_epoch_end(self, trainer, model):
        if trainer.current_epoch == 5:
            open("trained", "w").close()

adata = scdtl.datasets.toy()
options = {"early_stopping": False, "callbacks": [Tell()]}
handler = signal.getsignal(signal.SIGINT)
scdtl.pp.impute(adata, bulk=None, max_epochs=100_000, verbose=False, train_kwargs=options)
assert signal.getsignal(signal.SIGINT) is handler
adata.uns["scdtl"]["params"].pop("train_kwargs")
adata.write_h5ad("imputed.h5ad")
print("written")
"""


@pytest.mark.skipif(os.name != "posix", reason="sends the signal of Ctrl-C")
def test_an_interrupt_ends_training_and_keeps_what_was_learned(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(scdtl.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "trained").exists() and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert output.endswith("written\n")
    assert "Interrupted: training ends here" in output
    adata = anndata.read_h5ad(tmp_path / "imputed.h5ad")
    assert adata.uns["scdtl"]["training"]["reason"] == "interrupted"
    n_epochs = len(adata.uns["scdtl"]["history"]["train_loss"])
    assert 5 < n_epochs < 100_000
    assert np.isfinite(adata.layers["scdtl"]).all()


def test_the_handler_of_the_caller_is_put_back(adata):
    def handler(*_):
        pass

    before = signal.signal(signal.SIGINT, handler)
    try:
        scdtl.pp.impute(adata, bulk=None, max_epochs=1, verbose=False)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
