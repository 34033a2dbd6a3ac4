"""How long training takes, how its steps shrink, and when it is judged."""

import numpy as np
import pytest
from lightning.pytorch.callbacks import Callback

from scdtl import SCDTL
from scdtl.datasets import toy
from scdtl.noise import UMI


class Watch(Callback):
    """Notes the learning rate of each step, and after how many steps there are validations."""

    def __init__(self):
        self.rates, self.validated_after, self.losses = [], [], []

    def on_train_batch_start(self, trainer, plan, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_end(self, trainer, plan):
        self.validated_after.append(trainer.global_step)
        self.losses.append(float(trainer.callback_metrics["validation_loss"]))


@pytest.fixture
def watched():
    def train(n_cells, **kwargs):
        adata = toy(n_cells)
        SCDTL.setup_anndata(adata)
        watch = Watch()
        options = {"accelerator": "cpu", "enable_progress_bar": False, "early_stopping": False}
        watch.model = SCDTL(adata)
        watch.model.train(callbacks=[watch], **(options | kwargs))
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
def test_validations_come_every_so_many_steps_and_at_the_end(watched, n_cells, options, expected):
    assert watched(n_cells, **options).validated_after == expected


def test_the_learning_rate_falls_to_zero_where_passes_are_cut_short(watched):
    rates = watched(600, max_epochs=3, batch_size=4, limit_train_batches=20).rates
    assert len(rates) == 60
    assert rates[-1] < 0.01 * max(rates)


def test_validations_that_are_asked_for_are_those_that_come(watched):
    assert watched(60, max_epochs=10, check_val_every_n_epoch=4).validated_after == [4, 8]


def test_the_history_has_the_best_of_several_validations_in_a_pass(watched):
    watch = watched(600, max_epochs=2, batch_size=4)
    assert watch.model.history["validation_loss"]["validation_loss"].tolist() == pytest.approx(
        [min(watch.losses[:2]), min(watch.losses[2:])]
    )


@pytest.mark.parametrize("early_stopping", [True, False])
def test_an_end_within_the_last_pass_is_told_as_early(watched, early_stopping):
    still = {"plan_kwargs": {"lr": 0.0}, "early_stopping": early_stopping}
    model = watched(600, max_epochs=1, batch_size=2, **still).model
    reason = "early stopping" if early_stopping else "max_epochs"
    assert model.training_end_["reason"] == reason
    assert (model.trainer.global_step < 300) == early_stopping


def test_by_default_as_many_passes_as_make_up_the_steps(watched):
    assert len(watched(600, batch_size=60).rates) == 400


@pytest.mark.parametrize(
    ("n_cells", "n_genes", "from_bulk", "from_scratch"),
    [
        (100, 20_000, 113, 226),
        (100, 40_000, 96, 192),
        (1_000, 12_000, 146, 292),
        (100, 2_000, 358, 400),
        (2_000, 12_000, 292, 400),
        (10_000, 12_000, 400, 400),
        (50_000, 100, 400, 400),
    ],
)
def test_few_genes_and_many_cells_are_learned_longer(n_cells, n_genes, from_bulk, from_scratch):
    assert UMI.n_steps(n_cells, n_genes, False) == from_bulk
    assert UMI.n_steps(n_cells, n_genes, True) == from_scratch
