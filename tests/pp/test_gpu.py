"""On a GPU, where there is one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scdtl import SCDTL
from scdtl.metrics import poisson_score
from scdtl.pp import impute, impute_unmeasured

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def score(pbmc_split, **options):
    observed, held_out = pbmc_split
    adata = observed.copy()
    options = {"scale": "counts", "verbose": False, "return_model": True} | options
    model = impute(adata, **options)
    return model, adata, poisson_score(held_out, adata.layers["scdtl"], observed.X)


def test_it_is_taken_by_itself_and_gives_what_the_cpu_gives(pbmc_split):
    model, _, of_gpu = score(pbmc_split)
    assert model.device.type == "cuda"
    assert model.training_end_["precision"] == "32-true"
    _, _, of_cpu = score(pbmc_split, accelerator="cpu")
    assert of_gpu == pytest.approx(of_cpu, abs=0.002)


def test_without_training_the_numbers_are_those_of_the_cpu(pbmc_split):
    model, on_gpu, _ = score(pbmc_split, max_epochs=0)
    assert model.device.type == "cuda"
    _, on_cpu, _ = score(pbmc_split, max_epochs=0, accelerator="cpu")
    np.testing.assert_allclose(
        on_gpu.layers["scdtl"], on_cpu.layers["scdtl"], rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    "options",
    [
        {"noise": "reads"},
        {"noise": "reads", "replace": "dropouts", "return_dropout": True},
        {"batch_key": "batch", "return_std": True},
        {"false_zero_rate": 0.05},
        {"scale": "expected_log1p"},
        {"own_counts": False},
        {"lazy": True},
    ],
    ids=str,
)
def test_whatever_is_asked_for_is_that_of_the_cpu(pbmc_split, options):
    of_device = []
    for accelerator in ("gpu", "cpu"):
        cells = pbmc_split[0].copy()
        cells.obs["batch"] = np.where(np.arange(cells.n_obs) % 2, "a", "b")
        impute(cells, max_epochs=0, accelerator=accelerator, verbose=False, **options)
        of_device.append(cells.layers)
    for name, expected in of_device[1].items():
        dense = [as_array(layer) for layer in (of_device[0][name], expected)]
        np.testing.assert_allclose(*dense, rtol=1e-3, atol=1e-3)


def as_array(layer):
    layer = layer.compute() if hasattr(layer, "compute") else layer
    return layer.toarray() if hasattr(layer, "toarray") else layer


def test_genes_that_were_not_measured_are_those_of_the_cpu(pbmc_split):
    panel = pbmc_split[0][:, :300].copy()
    on_gpu, on_cpu = (
        impute_unmeasured(panel, max_epochs=0, accelerator=accelerator, verbose=False)
        for accelerator in ("gpu", "cpu")
    )
    np.testing.assert_allclose(on_gpu.X, on_cpu.X, rtol=1e-3, atol=1e-3)


def test_the_same_seed_gives_the_same_numbers(pbmc_split):
    first, again = (score(pbmc_split, max_epochs=4)[1].layers["scdtl"] for _ in range(2))
    np.testing.assert_array_equal(again, first)


def test_half_precision_is_as_accurate(pbmc_split):
    of_half = score(pbmc_split, train_kwargs={"precision": "bf16-mixed"})[2]
    assert of_half == pytest.approx(score(pbmc_split)[2], abs=0.002)


def test_what_was_trained_there_loads_on_a_cpu(pbmc_split, tmp_path):
    model, adata, _ = score(pbmc_split, max_epochs=2)
    model.save(str(tmp_path / "model"))
    loaded = SCDTL.load(str(tmp_path / "model"), adata, accelerator="cpu")
    np.testing.assert_allclose(
        loaded.get_imputed_expression(scale="counts", return_numpy=True),
        adata.layers["scdtl"],
        rtol=1e-3,
        atol=1e-4,
    )
