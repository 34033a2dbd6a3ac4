"""Tests of posterior_predictive_sample, and of the spread that it draws from."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch
from scipy import sparse, stats

from scdtl import SCDTL
from scdtl.datasets import toy
from scdtl.pp import impute

N_DRAWS = 250


def moments(model, **options):
    """Posterior mean, and variance of a count drawn around it."""
    mean, std = model.get_imputed_expression(
        scale="counts", return_std=True, return_numpy=True, **options
    )
    return mean.astype(float), mean + std.astype(float) ** 2


def sums_of_draws(model, n_draws=N_DRAWS, **options):
    """Mean and variance of each entry over draws of different seeds."""
    total = squares = 0
    for seed in range(n_draws):
        drawn = model.posterior_predictive_sample(random_state=seed, **options).toarray()
        total, squares = total + drawn.astype(float), squares + drawn.astype(float) ** 2
    mean = total / n_draws
    return mean, (squares - n_draws * mean**2) / (n_draws - 1)


def test_a_draw_is_a_sparse_matrix_of_whole_counts(toy_model):
    drawn = toy_model.posterior_predictive_sample()
    assert sparse.isspmatrix_csr(drawn)
    assert drawn.dtype == np.float32
    assert drawn.shape == (60, 40)
    assert drawn.has_canonical_format
    assert (drawn.data > 0).all()
    assert np.array_equal(drawn.data, np.rint(drawn.data))


@pytest.mark.parametrize("size", [None, 40_000.0], ids=["own depth", "other depth"])
def test_mean_and_variance_are_those_of_the_posterior(toy_model, size):
    expected, variance = moments(toy_model, library_size=size)
    # At a great depth the spread of the rates outweighs the noise of counting.
    assert size is None or (variance > 2 * expected).mean() > 0.3
    mean, spread = sums_of_draws(toy_model, library_size=size)
    often = expected > 0.1
    assert often.mean() > 0.8
    z = ((mean - expected) / np.sqrt(variance / N_DRAWS))[often]
    assert np.abs(z).max() < 5.5
    assert z.std() == pytest.approx(1, abs=0.08)
    assert abs(z.mean()) < 0.1
    ratio = (spread / variance)[often]
    assert ratio.mean() == pytest.approx(1, abs=0.02)
    assert np.median(ratio) == pytest.approx(1, abs=0.05)


def test_the_depth_of_a_draw_is_the_library_size(toy_model):
    own = np.asarray(toy_model.adata.X.sum(1)).ravel()
    for size in (None, 1_000.0, np.linspace(10, 3_000, 60)):
        _, variance = moments(toy_model, library_size=size)
        depth = np.asarray(toy_model.posterior_predictive_sample(library_size=size).sum(1)).ravel()
        wanted = own if size is None else np.broadcast_to(size, 60)
        z = (depth - wanted) / np.sqrt(variance.sum(1))
        assert np.abs(z).max() < 4.5
        assert abs(z.mean()) < 4 / np.sqrt(60)
        assert z.std() == pytest.approx(1, abs=0.35)


def test_cells_and_genes_come_in_the_order_asked_for(toy_model):
    cells, genes = [41, 3, 17], ["GENE34", "GENE25", "GENE1", "GENE17"]
    sizes = np.array([1e4, 2e4, 5e3])
    options = {"indices": cells, "gene_list": genes, "library_size": sizes}
    expected, variance = moments(toy_model, **options)
    mean, _ = sums_of_draws(toy_model, 100, batch_size=2, **options)
    assert mean.shape == (3, 4)
    assert np.abs((mean - expected) / np.sqrt(variance / 100)).max() < 4.5
    # The columns differ by far more than that, so that another order would be noticed.
    assert (np.diff(np.sort(expected, axis=1)) / np.sqrt(variance.max(1) / 100)[:, None]).min() > 1


def test_the_seed_decides_the_draw(toy_model):
    first, second, other = (
        toy_model.posterior_predictive_sample(random_state=seed).toarray() for seed in (3, 3, 4)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def random_states():
    legacy = np.random.get_state()  # noqa: NPY002
    return pickle.dumps((legacy, random.getstate(), torch.get_rng_state().numpy()))


def test_the_callers_random_states_neither_change_nor_matter(toy_model):
    first = toy_model.posterior_predictive_sample()
    torch.manual_seed(11)
    random.seed(11)
    np.random.seed(11)  # noqa: NPY002
    before = random_states()
    second = toy_model.posterior_predictive_sample()
    assert random_states() == before
    assert (first != second).nnz == 0


def test_cells_without_counts_have_none_and_no_cells_are_allowed(toy_model):
    others = toy(n_batches=2)
    dense = others.X.toarray()
    dense[[0, 7]] = 0
    others.X = sparse.csr_matrix(dense)
    drawn = toy_model.posterior_predictive_sample(others)
    assert (np.diff(drawn.indptr)[[0, 7]] == 0).all()
    assert (np.diff(drawn.indptr) > 0).sum() == 58
    none = toy_model.posterior_predictive_sample(indices=[], gene_list=["GENE3"])
    assert none.shape == (0, 1)
    assert sparse.isspmatrix_csr(none)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"library_size": -1.0}, "negative"),
        ({"library_size": [1.0, 2.0]}, "library_size"),
        ({"gene_list": ["TP53"]}, "TP53"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(toy_model, options, message):
    with pytest.raises(ValueError, match=message):
        toy_model.posterior_predictive_sample(**options)


# Calibration on real counts


def posterior_of_held_out(counts, fraction):
    """Model of the molecules that are left, the held-out ones, their mean and gamma shape."""
    whole = counts.X.toarray().astype(int)
    held_out = np.random.default_rng(0).binomial(whole, fraction)
    observed = counts.copy()
    observed.X = sparse.csr_matrix(whole - held_out, dtype=np.float32)
    _, model = impute(observed, bulk=None, copy=True, return_model=True, verbose=False)
    mean, variance = moments(model)
    ratio = held_out.sum(1, keepdims=True) / (whole - held_out).sum(1, keepdims=True)
    return model, held_out, mean * ratio, mean**2 / (variance - mean).clip(1e-12)


@pytest.fixture(scope="module")
def tenth(pbmc_counts):
    return posterior_of_held_out(pbmc_counts, 0.1)


@pytest.fixture(scope="module")
def half(pbmc_counts):
    return posterior_of_held_out(pbmc_counts, 0.5)


def coverage(counts, distribution, level):
    """Share of the randomised PIT within the central interval, averaged over its randomness."""
    upper, mass = distribution.cdf(counts), distribution.pmf(counts)
    inside = np.minimum(upper, 0.5 + level / 2) - np.maximum(upper - mass, 0.5 - level / 2)
    return (inside.clip(0) / mass.clip(1e-12)).mean()


def negative_binomial(mean, shape):
    return stats.nbinom(shape, shape / (shape + mean))


STRATA = [(0, 0.001), (0.001, 0.01), (0.01, 0.1), (0.1, 0.3), (0.3, 1), (1, np.inf)]


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
@pytest.mark.parametrize(("low", "high"), STRATA, ids=str)
@pytest.mark.parametrize("part", ["tenth", "half"])
def test_held_out_counts_fall_into_the_intervals_as_often_as_stated(
    request, part, level, low, high
):
    _, held_out, mean, shape = request.getfixturevalue(part)
    chosen = (mean > low) & (mean <= high)
    assert chosen.sum() >= 1_000
    found = coverage(held_out[chosen], negative_binomial(mean[chosen], shape[chosen]), level)
    assert found == pytest.approx(level, abs=0.03)


def test_without_the_posteriors_spread_the_intervals_are_too_narrow(half):
    """A tenth of the molecules is too noisy to tell; half of them does."""
    _, held_out, mean, shape = half
    chosen = mean > 1
    counts, mean, shape = held_out[chosen], mean[chosen], shape[chosen]
    of_mean = 0.8 - coverage(counts, stats.poisson(mean), 0.8)
    assert of_mean > 0.03
    assert abs(0.8 - coverage(counts, negative_binomial(mean, shape), 0.8)) < 0.7 * of_mean


def test_draws_have_the_zeros_and_the_spread_of_held_out_counts(half):
    model, held_out, mean, _ = half
    drawn = model.posterior_predictive_sample(library_size=held_out.sum(1)).toarray()
    often = held_out.sum(0) >= 500
    zeros = [(part[:, often] == 0).mean(0) for part in (held_out, drawn)]
    assert np.abs(zeros[0] - zeros[1]).mean() < 0.04
    variance = [part[:, often].var(0) for part in (held_out, drawn, mean)]
    assert np.median(variance[1] / variance[0]) == pytest.approx(1, abs=0.15)
    assert np.median(variance[2] / variance[0]) < 0.7


def test_the_deviation_follows_the_mean_to_another_batch():
    adata = toy(n_obs=80, n_batches=2)
    SCDTL.setup_anndata(adata, batch_key="batch")
    model = SCDTL(adata)
    model.train(max_epochs=3, enable_progress_bar=False)
    options = {"scale": "counts", "return_std": True, "return_numpy": True}
    mean, std = model.get_imputed_expression(**options)
    as_other, std_as_other = model.get_imputed_expression(transform_batch="batch1", **options)
    there = (mean > 0) & (as_other > 0)
    assert not np.allclose(mean, as_other)
    np.testing.assert_allclose(
        (std_as_other / as_other)[there], (std / mean)[there], rtol=1e-3, atol=1e-6
    )
