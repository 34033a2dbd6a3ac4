"""Tests of the training curves."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt

from scdtl import pl


def curves(ax):
    """Validation, its best and training, as epochs and losses."""
    right = next(other for other in ax.figure.axes if other is not ax)
    lines = [*ax.lines, *right.lines]
    return [np.column_stack(line.get_data()) for line in lines]


def with_history(adata, **history):
    cells = adata[:, :3].copy()
    cells.uns["scdtl"] = {"params": {}, "history": history}
    return cells


def test_losses_of_each_epoch_are_drawn_and_the_best_validation_is_marked(imputed):
    history = imputed.uns["scdtl"]["history"]
    ax = pl.history(imputed)
    validation, best, train = curves(ax)
    assert validation[:, 0].tolist() == train[:, 0].tolist() == [1, 2, 3, 4]
    assert validation[:, 1] == pytest.approx(history["validation_loss"])
    assert train[:, 1] == pytest.approx(history["train_loss"])
    epoch = 1 + np.argmin(history["validation_loss"])
    assert best.tolist() == [[epoch, history["validation_loss"].min()]]
    assert f"best: epoch {epoch}," in ax.get_legend().get_texts()[0].get_text()


@pytest.mark.parametrize(
    "losses", [[np.nan, 3.0, np.nan, 2.0, np.nan, 2.5], [3.0, 2.0, 2.5]], ids=["gaps", "no gaps"]
)
def test_validation_every_other_epoch_is_drawn_at_its_epochs(losses, adata):
    cells = with_history(adata, train_loss=np.arange(6.0), validation_loss=np.array(losses))
    validation, best, _ = curves(pl.history(cells))
    assert validation.tolist() == [[2, 3], [4, 2], [6, 2.5]]
    assert best.tolist() == [[4, 2]]


def test_without_validation_the_training_loss_is_drawn_alone(adata):
    ax = pl.history(with_history(adata, train_loss=np.array([2.0, 1.0])))
    assert [curve.tolist() for curve in curves(ax)] == [[[1, 2], [2, 1]]]


def test_nothing_trained_is_an_error_that_says_so(adata):
    with pytest.raises(ValueError, match="no training history, as after max_epochs=0"):
        pl.history(with_history(adata))
    assert plt.get_fignums() == []
