"""One call trains in its own process on one device, whatever a cluster's variables say."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from scdtl import SCDTL
from scdtl.pp import impute

SLURM = {
    "SLURM_JOB_ID": "1",
    "SLURM_JOB_NAME": "impute",
    "SLURM_NNODES": "1",
    "SLURM_NODEID": "0",
}
LEFT_BEHIND = {
    "sbatch of four tasks used as cores": SLURM | {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"},
    "second task of srun": SLURM
    | {
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "1",
    },
    "torchrun": {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"},
    "mpirun": {
        "OMPI_COMM_WORLD_RANK": "1",
        "OMPI_COMM_WORLD_LOCAL_RANK": "1",
        "OMPI_COMM_WORLD_SIZE": "2",
    },
}
SCRIPT = """
import sys, scdtl
adata = scdtl.datasets.toy()
model = scdtl.pp.impute(adata, bulk=None, max_epochs=2, out=sys.argv[1], return_model=True)
model.save(sys.argv[1] + ".model")
model = scdtl.SCDTL.load(sys.argv[1] + ".model", adata=False)
print(len(model.history["train_loss"]), adata.uns["scdtl"]["history"]["train_loss"].size)
"""


@pytest.mark.slow
@pytest.mark.parametrize("variables", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
def test_a_process_of_a_cluster_job_does_its_own_work(variables, tmp_path):
    pytest.importorskip("zarr")
    out = tmp_path / "sample.zarr"
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(out)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["2", "2"]
    assert out.exists()
    assert "Imputed 60 cells" in run.stderr


@pytest.mark.parametrize("devices", [2, -1, [0, 1], "2"])
def test_several_devices_are_refused_with_the_way_out(adata, devices):
    with pytest.raises(ValueError, match=r"one device.*dask\.distributed"):
        impute(adata, bulk=None, devices=devices)
    assert "scdtl" not in adata.layers


def test_a_strategy_of_several_processes_is_refused(adata):
    SCDTL.setup_anndata(adata)
    with pytest.raises(ValueError, match="one device"):
        SCDTL(adata).train(strategy="ddp_spawn")


@pytest.mark.parametrize("devices", [1, "1", "auto"])
def test_one_device_is_taken_however_it_is_written(adata, devices):
    impute(adata, bulk=None, max_epochs=1, devices=devices, accelerator="cpu", verbose=False)
    assert "scdtl" in adata.layers


def test_apples_gpu_is_refused_before_work_starts(adata, monkeypatch):
    of_a_mac = "mps", 1, torch.device("mps")
    monkeypatch.setattr("scdtl._compat.parse_device_args", lambda *_, **__: of_a_mac)
    before = adata.copy()
    with pytest.raises(ValueError, match="no double precision"):
        impute(adata, bulk=None, verbose=False)
    assert adata.layers.keys() == before.layers.keys()
    assert adata.uns.keys() == before.uns.keys()
