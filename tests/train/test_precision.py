"""Half precision where the processor has it: it is taken by itself, and costs no accuracy."""

import numpy as np
import pytest
import torch

from scdtl import SCDTL
from scdtl._compat import fast_precision
from scdtl.metrics import poisson_score
from scdtl.pp import impute


@pytest.fixture
def trained(adata, monkeypatch):
    def train(has_bfloat16, **kwargs):
        monkeypatch.setattr(
            torch.cpu, "_is_avx512_bf16_supported", lambda: has_bfloat16, raising=False
        )
        SCDTL.setup_anndata(adata)
        model = SCDTL(adata)
        model.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False, **kwargs)
        return model

    return train


@pytest.mark.parametrize(("has_bfloat16", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_the_processor_decides_and_the_weights_stay_whole(trained, has_bfloat16, precision):
    model = trained(has_bfloat16)
    assert model.trainer.precision == precision
    assert model.training_end_["precision"] == precision
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.float32}
    assert model.get_imputed_expression(return_numpy=True).dtype == np.float32


def test_what_is_asked_for_is_taken(trained):
    assert trained(True, precision="32-true").trainer.precision == "32-true"


def test_gradients_may_be_clipped(trained):
    assert trained(True, gradient_clip_val=1.0).trainer.precision == "32-true"


@pytest.mark.skipif(
    not fast_precision(torch.device("cpu"), {}),
    reason="the processor has no bfloat16",
)
def test_half_precision_is_as_accurate(pbmc_split):
    observed, held_out = pbmc_split
    scores = []
    for precision in ("bf16-mixed", "32-true"):
        of_precision = impute(
            observed,
            scale="counts",
            copy=True,
            accelerator="cpu",
            train_kwargs={"precision": precision},
            verbose=False,
        )
        scores.append(poisson_score(held_out, of_precision.layers["scdtl"], observed.X))
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
