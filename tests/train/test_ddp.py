"""Tests of training in several processes, on a real pair of them and on one process's share."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import sparse

import scdtl
from scdtl._constants import REGISTRY_KEYS
from scdtl.train._molecules import MoleculeSplitter

N_USED = 501  # odd: the processes' shares differ
MAX_EPOCHS = 60
TIMEOUT = 120
# Nats per molecule. Training lowers the loss by about 0.03; dropout and thinning differ.
TOLERANCE = 0.005

SCRIPT = """
import hashlib, json, os, sys
import numpy as np
import scdtl

def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()

if __name__ == "__main__":
    adata = scdtl.datasets.pbmc68k_counts()[: int(sys.argv[2])].copy()
    options = json.loads(sys.argv[1])
    options["train_kwargs"]["strategy"] = "ddp"
    model = scdtl.pp.impute(
        adata, devices=2, accelerator="cpu", verbose=True, return_model=True, **options
    )
    trainer = model.trainer
    result = {
        "pid": os.getpid(),
        "world_size": trainer.world_size,
        "stopped_epoch": trainer.early_stopping_callback.stopped_epoch,
        "history": {k: v.tolist() for k, v in adata.uns["scdtl"]["history"].items()},
        "layer": digest(adata.layers["scdtl"]),
        "latent": digest(adata.obsm["X_scdtl"]),
        "trust": digest(adata.var["scdtl_trust"].to_numpy()),
        "dispersion": digest(model.module.dispersion.numpy()),
        "mean": adata.layers["scdtl"].mean(0).tolist(),
    }
    with open(f"rank{trainer.global_rank}.json", "w") as file:
        json.dump(result, file)
"""
OPTIONS = {
    "max_epochs": MAX_EPOCHS,
    "random_state": 0,
    "train_kwargs": {"early_stopping_patience": 1, "plan_kwargs": {"lr": 0.016}},
}


def run_script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script; after the timeout end it and every process that it started."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    env = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "WORLD_SIZE")}
    env |= {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(scdtl.__file__).parents[1]),
    }
    process = subprocess.Popen(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"no end after {TIMEOUT} s:\n{process.communicate()[0]}")
    return subprocess.CompletedProcess(process.args, process.returncode, output)


@pytest.mark.skipif(os.name != "posix", reason="ends a hang by its process group")
def test_two_processes_train_the_model_of_one(tmp_path, pbmc_counts):
    finished = run_script(tmp_path, json.dumps(OPTIONS), str(N_USED))
    assert finished.returncode == 0, finished.stdout
    first, second = (json.loads((tmp_path / f"rank{i}.json").read_text()) for i in (0, 1))

    assert first.pop("pid") != second.pop("pid")
    np.testing.assert_equal(first, second)  # epochs without validation are NaN in both
    assert first["world_size"] == 2
    n_epochs = len(first["history"]["train_loss"])
    assert first["stopped_epoch"] + 1 == n_epochs < MAX_EPOCHS
    assert finished.stdout.count(f"Training:   0%|          | 0/{MAX_EPOCHS} ") == 1
    assert "early_stopping was automatically disabled" not in finished.stdout
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"script.py", "rank0.json", "rank1.json"}

    alone = scdtl.pp.impute(pbmc_counts[:N_USED].copy(), copy=True, verbose=False, **OPTIONS)
    expected, found = (
        np.array(result["validation_loss"])[1::2]  # of so few cells, every other epoch has one
        for result in (alone.uns["scdtl"]["history"], first["history"])
    )
    n_both = min(len(expected), len(found))
    assert found[:n_both] == pytest.approx(expected[:n_both], abs=TOLERANCE)
    assert found.min() == pytest.approx(expected.min(), abs=TOLERANCE)
    assert expected[0] - expected.min() > 4 * TOLERANCE
    assert np.corrcoef(first["mean"], alone.layers["scdtl"].mean(0))[0, 1] > 0.99


# One process's share of the molecules

N_CELLS = 58


@pytest.fixture
def counts(adata):
    return sparse.csr_matrix(adata.X)[:N_CELLS]


def splitter(counts, rank=0, n_processes=1, batch_size=16):
    """The split with the number of each cell as its batch, on one of several processes."""
    molecules = MoleculeSplitter(counts, np.arange(counts.shape[0]), batch_size, seed=1)
    molecules.trainer = SimpleNamespace(global_rank=rank, world_size=n_processes)
    molecules.setup("fit")
    return molecules


def cells_of(loader):
    return [batch[REGISTRY_KEYS.BATCH_KEY].tolist() for batch in loader]


@pytest.mark.parametrize("n_processes", [2, 3])
def test_processes_share_each_minibatch_of_one_order(counts, n_processes):
    shares = [splitter(counts, i, n_processes).train_dataloader() for i in range(n_processes)]
    orders = []
    for _ in range(2):
        drawn = []
        for share in shares:
            torch.manual_seed(len(drawn))  # that of torch is another in each
            drawn.append(cells_of(share))
        assert [len(steps) for steps in drawn] == [len(share) for share in shares]
        steps = [np.concatenate(parts) for parts in zip(*drawn, strict=True)]
        # Two cells are left for the last step: too few for three processes.
        assert [len(cells) for cells in steps] == [16, 16, 16, *([10] if N_CELLS % 16 else [])]
        seen = np.concatenate(steps)
        assert len(np.unique(seen)) == len(seen)
        orders.append(seen.tolist())
    assert orders[0] != orders[1]


def test_a_last_minibatch_with_less_than_a_cell_each_is_left_out(counts):
    for rank in range(3):
        loader = splitter(counts[:50], rank, 3).train_dataloader()  # 3 × 16 + 2
        assert len(loader) == len(cells_of(loader)) == 3


def test_processes_thin_their_cells_differently(counts):
    same = sparse.csr_matrix(np.tile(counts[0].toarray(), (N_CELLS, 1)))
    first, second = (
        next(iter(splitter(same, rank, 2, N_CELLS).train_dataloader()))[REGISTRY_KEYS.X_KEY]
        for rank in (0, 1)
    )
    assert not torch.equal(first, second)


@pytest.mark.parametrize("batch_size", [16, 64])
def test_validation_is_shared_without_a_cell_twice(counts, batch_size):
    whole, *shares = (
        splitter(counts, *process, batch_size) for process in ((0, 1), (0, 2), (1, 2))
    )
    for share in shares:
        assert abs(share.held_out - whole.held_out).max() == 0
    parts = [cells_of(share.val_dataloader()) for share in shares]
    assert all(parts)
    minibatches = [cells for part in parts for cells in part]
    assert sorted(np.concatenate(minibatches)) == list(range(N_CELLS))
    for cells in minibatches:  # even and odd rows stay two folds
        assert cells[0] % 2 == 0
        assert cells == list(range(cells[0], cells[-1] + 1))


def test_after_training_every_process_sees_all_cells(counts):
    molecules = splitter(counts, 1, 2)
    assert len(np.concatenate(cells_of(molecules.calibration_dataloader()))) == N_CELLS
    molecules.teardown("fit")
    assert len(np.concatenate(cells_of(molecules.val_dataloader()))) == N_CELLS


@pytest.mark.parametrize(("n_cells", "batch_size"), [(58, 2), (5, 16)])
def test_more_processes_than_cells_for_them_is_an_error(counts, n_cells, batch_size):
    with pytest.raises(ValueError, match="use fewer devices"):
        splitter(counts[:n_cells], 0, 3, batch_size)


def test_moments_of_dispersion_are_summed_over_processes(toy_model):
    from scdtl.module._posterior import shrunken_dispersion
    from scdtl.train._plan import SCDTLTrainingPlan

    module = copy.deepcopy(toy_model.module)
    plan = SCDTLTrainingPlan(module)
    plan._trainer = SimpleNamespace(
        strategy=SimpleNamespace(reduce=lambda tensor, reduce_op: {"sum": 3 * tensor}[reduce_op]),
        callback_metrics={"validation_loss": 1.0},
        world_size=1,
    )
    plan.on_fit_start()
    moments = torch.rand_like(module.fold_moments)
    module.fold_moments.copy_(moments)
    plan.on_validation_start()
    plan.on_validation_end()
    torch.testing.assert_close(module.dispersion, shrunken_dispersion(*(3 * moments).sum(0)))
    assert not module.fold_moments.any()
    assert set(plan._ddp_params_and_buffers_to_ignore) == {
        name for name, _ in plan.named_buffers()
    }


# What cannot work is said before training


def test_a_script_that_cannot_be_started_again_is_refused(monkeypatch):
    from lightning.fabric.plugins.environments import LightningEnvironment
    from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

    from scdtl.train._runner import SharingTrainRunner

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(sys, "argv", ["-c"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    launcher = _SubprocessScriptLauncher(LightningEnvironment(), num_processes=2, num_nodes=1)
    runner = object.__new__(SharingTrainRunner)
    runner.trainer = SimpleNamespace(strategy=SimpleNamespace(launcher=launcher))
    with pytest.raises(RuntimeError, match="a script in a file"):
        runner()


@pytest.mark.parametrize("same", [True, False])
def test_processes_that_start_differently_are_refused(toy_model, same):
    from scdtl.train._plan import SCDTLTrainingPlan

    plan = SCDTLTrainingPlan(toy_model.module)
    strategy = SimpleNamespace(
        broadcast=lambda digest: digest if same else b"that of the first process",
        reduce_boolean_decision=lambda decision, all: decision,
    )
    datamodule = SimpleNamespace(val_idx=np.arange(3))
    plan._trainer = SimpleNamespace(strategy=strategy, datamodule=datamodule, world_size=2)
    if same:
        plan._check_same_start()
    else:
        with pytest.raises(RuntimeError, match="do not start alike"):
            plan._check_same_start()
