"""Tests of the gamma-Poisson posterior against SciPy's gamma and simulated rates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from scdtl.noise._posterior import (
    dispersion_moments,
    expected_log1p,
    posterior_mean,
    posterior_variation,
    residual_moments,
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
    std = posterior_mean(mu, counts, dispersion) * posterior_variation(counts, dispersion) ** 0.5
    np.testing.assert_allclose(std, expected.std())


def test_torch_and_numpy_agree(rates):
    as_torch = [torch.from_numpy(x) for x in rates]
    np.testing.assert_allclose(posterior_mean(*as_torch).numpy(), posterior_mean(*rates))


def test_dispersion_says_how_far_the_count_is_trusted(rates):
    mu, counts, _ = rates
    np.testing.assert_array_equal(posterior_mean(mu, counts, 0.0), mu)
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


def test_planted_dispersion_is_recovered_from_residuals():
    rng = np.random.default_rng(0)
    mu = rng.lognormal(1, 0.3, size=(8_000, 20))
    planted = rng.uniform(0.2, 1.5, size=20)
    counts = rng.poisson(rng.gamma(1 / planted, mu * planted))
    numerator, denominator = residual_moments(counts, mu)
    assert numerator.shape == denominator.shape == (20,)
    np.testing.assert_allclose(numerator / denominator, planted, rtol=0.15)


def test_residual_moments_by_hand():
    counts, mu = np.array([[0, 4], [5, 1]]), np.array([[1, 2], [3, 1]])
    numerator, denominator = residual_moments(counts, mu)
    np.testing.assert_array_equal(numerator, [(1 - 1) + (4 - 3), (4 - 2) + (0 - 1)])
    np.testing.assert_array_equal(denominator, [1 + 9, 4 + 1])


def test_shrinkage_weighs_the_gene_and_the_pool_by_their_precision():
    # Pooled 0.5: its precision is 1 / 0.5² beside 0.25 of each gene's own estimate, 1 or 0.
    found = shrunken_dispersion(torch.tensor([0.25, 0.0]), torch.tensor([0.25, 0.25]))
    expected = [(0.25 * own + 4 * 0.5) / (0.25 + 4) for own in (1, 0)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_genes_are_pooled_with_those_of_like_expression():
    denominator = torch.linspace(0.1, 100, 500, dtype=torch.float64)
    planted = torch.where(torch.arange(500) < 250, 2.0, 0.5)
    order = torch.randperm(500)
    found = shrunken_dispersion((planted * denominator)[order], denominator[order])
    np.testing.assert_allclose(found.numpy(), planted[order].numpy(), rtol=1e-6)


def test_rare_genes_take_the_pooled_dispersion():
    rng = np.random.default_rng(0)
    mu = rng.lognormal(-2.5, 0.3, size=(2_000, 200))
    numerator, denominator = simulated_moments(mu, 0.7, rng)
    alone = (numerator / denominator).numpy()
    found = shrunken_dispersion(numerator, denominator).numpy()
    assert found.mean() == pytest.approx(0.7, abs=0.3)
    assert found.std() < 0.5 * alone.std()


def test_genes_that_were_not_seen_have_none_and_change_no_other():
    generator = torch.Generator().manual_seed(0)
    denominator = torch.rand(450, generator=generator).mul(20).exp()
    numerator = denominator * torch.rand(450, generator=generator)
    alone = shrunken_dispersion(numerator, denominator)
    among = shrunken_dispersion(
        *(torch.cat([torch.zeros(500), part]) for part in (numerator, denominator))
    )
    assert torch.equal(among[500:], alone)
    assert not among[:500].any()


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
