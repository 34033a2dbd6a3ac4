"""Tests of the gamma-Poisson posterior against SciPy's gamma and simulated rates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from scdtl.module._posterior import (
    dispersion_moments,
    expected_log1p,
    posterior_mean,
    posterior_std,
    shrunken_dispersion,
)


@pytest.fixture
def rates():
    """Predicted counts, observed counts and a dispersion per gene."""
    rng = np.random.default_rng(0)
    mu = rng.lognormal(0, 1.5, size=(50, 6))
    return mu, rng.poisson(2 * mu).astype(float), rng.lognormal(-1, 1, size=6)


def test_posterior_is_the_conjugate_gamma(rates):
    mu, counts, dispersion = rates
    shape, rate = 1 / dispersion + counts, 1 / (dispersion * mu) + 1
    expected = stats.gamma(shape, scale=1 / rate)
    np.testing.assert_allclose(posterior_mean(mu, counts, dispersion), expected.mean())
    np.testing.assert_allclose(posterior_std(mu, counts, dispersion), expected.std())


def test_torch_and_numpy_agree(rates):
    as_torch = [torch.from_numpy(x) for x in rates]
    for function in (posterior_mean, posterior_std):
        np.testing.assert_allclose(function(*as_torch).numpy(), function(*rates))


def test_dispersion_says_how_far_the_count_is_trusted(rates):
    mu, counts, _ = rates
    np.testing.assert_array_equal(posterior_mean(mu, counts, 0.0), mu)
    np.testing.assert_array_equal(posterior_std(mu, counts, 0.0), 0)
    np.testing.assert_allclose(posterior_mean(mu, counts, 1e12), counts, rtol=1e-4, atol=1e-4)


def simulated_moments(mu, dispersion, rng):
    """Moments of counts and held-out molecules whose rates are gamma around ``mu``."""
    rate = rng.gamma(1 / dispersion, mu * dispersion)
    counts, held_out = rng.poisson(0.9 * rate), rng.poisson(0.1 * rate)
    moments = dispersion_moments(counts, 0.9 * mu, held_out, 0.1 * mu)
    return [torch.from_numpy(moment) for moment in moments]


def test_planted_dispersion_of_expressed_genes_is_recovered():
    rng = np.random.default_rng(0)
    mu = rng.lognormal(3, 0.3, size=(4_000, 40))
    planted = rng.uniform(0.2, 1.5, size=40)
    found = shrunken_dispersion(*simulated_moments(mu, planted, rng)).numpy()
    np.testing.assert_allclose(found, planted, rtol=0.2)


def test_rare_genes_take_the_pooled_dispersion():
    rng = np.random.default_rng(0)
    mu = rng.lognormal(-2.5, 0.3, size=(2_000, 200))
    numerator, denominator = simulated_moments(mu, 0.7, rng)
    alone = (numerator / denominator).numpy()
    found = shrunken_dispersion(numerator, denominator).numpy()
    assert found.mean() == pytest.approx(0.7, abs=0.3)
    assert found.std() < 0.5 * alone.std()


def test_dispersion_is_never_negative_or_nan():
    numerator = torch.tensor([-5.0, 0.0, 3.0], dtype=torch.float64)
    denominator = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    found = shrunken_dispersion(numerator, denominator)
    assert torch.isfinite(found).all()
    assert (found >= 0).all()


@pytest.mark.parametrize("shape", [0.3, 1.0, 2.0, 10.0, 50.0])
@pytest.mark.parametrize("factor", [0.5, 10.0])
def test_expected_log1p_is_that_of_the_negative_binomial(shape, factor):
    # A posterior mean is at most its shape; ten times the cell's depth is asked for at most.
    means = shape * np.array([0.0, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0])
    counts = np.arange(20_000)
    probability = stats.nbinom(shape, shape / (shape + means[:, None])).pmf(counts)
    expected = (probability * np.log1p(factor * counts)).sum(1)
    found = expected_log1p(
        torch.from_numpy(means)[None],
        torch.full((1, len(means)), shape, dtype=torch.float64),
        torch.full((1, 1), factor, dtype=torch.float64),
    )[0].numpy()
    np.testing.assert_allclose(found[:-1], expected[:-1], rtol=0.005, atol=1e-9)
    np.testing.assert_allclose(found[-1], expected[-1], rtol=0.06)
