"""How long training takes, how its steps shrink, and when it is judged."""

import numpy as np
import pytest
from lightning.pytorch.callbacks import Callback

from scdtl import SCDTL
from scdtl.datasets import toy
from scdtl.noise import NOISE_MODELS


class Watch(Callback):
    """Notes the learning rate of each step, and after how many steps there are validations."""

    def __init__(self):
        self.rates, self.validated_after = [], []

    def on_train_batch_start(self, trainer, plan, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_end(self, trainer, plan):
        self.validated_after.append(trainer.global_step)


@pytest.fixture
def watched():
    def train(n_cells, **kwargs):
        adata = toy(n_cells)
        SCDTL.setup_anndata(adata)
        watch = Watch()
        options = {"accelerator": "cpu", "enable_progress_bar": False, "early_stopping": False}
        SCDTL(adata).train(callbacks=[watch], **options, **kwargs)
        return watch

    return train


def test_the_learning_rate_rises_shortly_and_falls_to_zero(watched):
    rates = np.array(watched(60, max_epochs=80).rates)
    assert len(rates) == 80
    assert (np.diff(rates[:10]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[-1] < 0.01 * rates.max()


@pytest.mark.parametrize(
    ("n_cells", "options", "expected"),
    [
        (60, {"max_epochs": 80}, [64, 80]),  # one step in a pass
        (600, {"max_epochs": 2, "batch_size": 4}, [75, 150, 225, 300]),  # 150 in a pass
        (60, {"max_epochs": 3}, [3]),
    ],
)
def test_validations_are_evenly_spread_and_the_end_is_judged(watched, n_cells, options, expected):
    assert watched(n_cells, **options).validated_after == expected


@pytest.mark.parametrize(
    ("n_cells", "n_genes", "umi", "reads"),
    [
        (100, 20_000, 96, 320),
        (1_000, 12_000, 110, 320),
        (100, 2_000, 268, 320),
        (10_000, 12_000, 346, 346),
        (50_000, 100, 400, 400),
    ],
)
def test_few_genes_and_many_cells_are_learned_longer(n_cells, n_genes, umi, reads):
    steps = {name: NOISE_MODELS[name](1).n_steps(n_cells, n_genes) for name in ("umi", "reads")}
    assert steps == {"umi": umi, "reads": reads}
