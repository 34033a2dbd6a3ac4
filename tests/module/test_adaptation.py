"""Tests of the maximum mean discrepancy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from scdtl.module._adaptation import maximum_mean_discrepancy


def sample(n, shift=0.0, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, size=(n, 5))).float()


def test_same_sample_has_no_discrepancy():
    cells = sample(40)
    assert float(maximum_mean_discrepancy(cells, cells)) == pytest.approx(0, abs=1e-6)


def test_discrepancy_grows_with_the_shift():
    none, small, large = (
        float(maximum_mean_discrepancy(sample(60), sample(50, shift, seed=1)))
        for shift in (0.0, 0.7, 3.0)
    )
    assert 0 <= none < small < large


def test_discrepancy_is_that_of_its_definition():
    cells, bulk = sample(30).numpy(), sample(20, 1.0, seed=1).numpy()
    pooled = np.concatenate([cells, bulk])
    width = cdist(pooled, pooled, "sqeuclidean").mean()

    def kernel(first, second):
        distances = cdist(first, second, "sqeuclidean")
        return np.mean([np.exp(-distances / (scale * width)) for scale in (0.25, 1, 4)])

    expected = kernel(cells, cells) + kernel(bulk, bulk) - 2 * kernel(cells, bulk)
    found = maximum_mean_discrepancy(torch.from_numpy(cells), torch.from_numpy(bulk))
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_gradient_pulls_the_cells_towards_bulk():
    cells = sample(40).requires_grad_()
    maximum_mean_discrepancy(cells, sample(40, 2.0, seed=1)).backward()
    assert torch.isfinite(cells.grad).all()
    assert (cells.grad.mean(0) < 0).all()
