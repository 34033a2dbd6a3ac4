"""One factor for all log-ratios, fitted to what is held out."""

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from scdtl.model._adapt import fit_scale
from scdtl.model._held_out_cells import Block
from scdtl.module._scdtl import SCDTLModule
from scdtl.noise import lowest

N_GENES = 80


class Cells:
    """Cells whose true log-ratios the networks multiply by a factor."""

    def __init__(self, n_cells, factor, noise, n_batch, depth=10_000):
        random = np.random.default_rng(0)
        truth = random.normal(0, 0.7, (n_cells, N_GENES))
        log_mean = np.log(random.dirichlet(np.ones(N_GENES), n_batch))
        batch = np.arange(n_cells) % n_batch
        rates = depth * np.exp(log_mean[batch] + truth)
        kept, held_out = random.poisson(rates), random.poisson(0.2 * rates).astype(float)
        if noise == "reads":  # logarithms of whole entries; the others are not asked
            asked = random.random(rates.shape) < 0.2
            held_out = np.where(asked, np.log1p(kept), np.nan)
            kept = np.where(asked, np.nan, kept)
        rows = log_mean if n_batch == 1 else log_mean[batch]
        self.arrays = kept, held_out, rows, np.zeros_like(rates), factor * truth
        self.batch = torch.tensor(batch)

    def judged(self):
        kept, held_out, *others = (torch.tensor(x, dtype=torch.float32) for x in self.arrays)
        return Block(kept, held_out, self.batch, *others)


@pytest.mark.parametrize("noise", ["umi", "reads"])
@pytest.mark.parametrize("n_batch", [1, 2])
@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_what_is_said_too_loudly_is_scaled_down(noise, n_batch, factor):
    module = SCDTLModule(N_GENES, n_batch, noise=noise)
    with torch.inference_mode():
        fit_scale(module, Cells(40, factor, noise, n_batch), is_trained=True)
    assert 0.85 < factor * float(module.log_ratio_scale) < 1.1


@pytest.mark.parametrize(("n_cells", "depth"), [(9, 10_000), (40, 0)])
def test_where_nothing_can_be_told_training_is_believed(n_cells, depth):
    module = SCDTLModule(N_GENES)
    with torch.inference_mode():
        fit_scale(module, Cells(n_cells, 2.0, "umi", 1, depth), is_trained=True)
    assert float(module.log_ratio_scale) == 1


def test_training_does_without(adata, toy_weights_file, train_scdtl):
    class Watch(Callback):
        def on_train_start(self, trainer, plan):
            self.scale = float(plan.module.log_ratio_scale)

    model, watch = train_scdtl(adata, bulk=toy_weights_file, max_epochs=0), Watch()
    assert float(model.module.log_ratio_scale) != 1
    model.train(max_epochs=2, enable_progress_bar=False, callbacks=[watch])
    assert watch.scale == 1


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([(s - 0.3) ** 2 for s in (0, 0.5, 1, 1.5)], 0.3),
        ([(s - 1.2) ** 2 for s in (0, 0.5, 1, 1.5)], 1.2),
        ([(s + 2) ** 2 for s in (0, 0.5, 1, 1.5)], 0),
        ([-s for s in (0, 0.5, 1, 1.5)], 1.5),
        ([1, 1, 1, 1], 0),
    ],
)
def test_the_lowest_point_lies_between_the_steps(losses, expected):
    assert lowest([0, 0.5, 1, 1.5], losses) == pytest.approx(expected)
