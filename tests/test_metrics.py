"""Metrics against independent libraries, and properties that hold for any matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse, stats
from sklearn import metrics as sklearn_metrics

from scdtl import metrics

SHAPE = (30, 12)
SHAPES = st.tuples(st.integers(2, 8), st.integers(2, 8))
COUNTS = SHAPES.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 50)))
EXPRESSION = SHAPES.flatmap(
    lambda shape: arrays(np.int64, (2, *shape), elements=st.integers(-100_000, 100_000))
).map(lambda thousandths: thousandths / 1000)
few_examples = settings(max_examples=50, deadline=None)


@pytest.fixture
def rates() -> np.ndarray:
    return np.random.default_rng(0).gamma(0.5, 2.0, size=SHAPE) + 1e-3


@pytest.fixture
def counts(rates: np.ndarray) -> np.ndarray:
    return np.random.default_rng(1).poisson(rates)


@pytest.fixture
def observed(rates: np.ndarray) -> np.ndarray:
    return np.random.default_rng(2).poisson(9 * rates)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_BLOCK_ENTRIES", 7 * SHAPE[1])


def poisson_loss(counts: np.ndarray, rates: np.ndarray) -> float:
    """The loss of OpenProblems' denoising task, with the prediction as the rate."""
    scaled = counts.sum(axis=1, keepdims=True) * rates / rates.sum(axis=1, keepdims=True)
    loss = torch.nn.functional.poisson_nll_loss(
        torch.tensor(scaled), torch.tensor(counts), log_input=False, eps=1e-6
    )
    return loss.item()


def test_poisson_deviance_equals_scikit_learn(counts: np.ndarray, rates: np.ndarray) -> None:
    deviance = sklearn_metrics.mean_poisson_deviance
    per_gene = [deviance(y, mu) for y, mu in zip(counts.T, rates.T, strict=True)]
    per_cell = [deviance(y, mu) for y, mu in zip(counts, rates, strict=True)]

    pooled = metrics.poisson_deviance(counts, rates)
    assert pooled == pytest.approx(deviance(counts.ravel(), rates.ravel()))
    np.testing.assert_allclose(metrics.poisson_deviance(counts, rates, axis=0), per_gene)
    np.testing.assert_allclose(metrics.poisson_deviance(counts, rates, axis=1), per_cell)


def test_poisson_deviance_is_infinite_only_for_molecules_seen_at_rate_zero() -> None:
    deviance = metrics.poisson_deviance(np.array([[0, 1]]), np.zeros((1, 2)), axis=0)
    np.testing.assert_array_equal(deviance, [0, np.inf])


def test_poisson_score_equals_torch(
    counts: np.ndarray, rates: np.ndarray, observed: np.ndarray
) -> None:
    none, perfect = poisson_loss(counts, observed), poisson_loss(counts, counts.astype(float))
    expected = (none - poisson_loss(counts, rates)) / (none - perfect)
    assert metrics.poisson_score(counts, rates, observed) == pytest.approx(expected)


def test_poisson_score_runs_from_no_denoising_to_the_held_out_molecules(
    counts: np.ndarray, observed: np.ndarray
) -> None:
    assert metrics.poisson_score(counts, observed, observed) == pytest.approx(0)
    assert metrics.poisson_score(counts, counts, observed) == pytest.approx(1)


def test_poisson_score_prefers_the_true_rates_to_sharper_ones(
    counts: np.ndarray, rates: np.ndarray, observed: np.ndarray
) -> None:
    sharper = metrics.poisson_score(counts, rates**1.3, observed)
    assert metrics.poisson_score(counts, rates, observed) > sharper


def test_poisson_scores_ignore_the_depth_of_the_rates(
    counts: np.ndarray, rates: np.ndarray, observed: np.ndarray
) -> None:
    deeper = rates * np.linspace(0.1, 30, SHAPE[0])[:, None]
    for score in (metrics.poisson_score, metrics.gene_deviance_explained):
        np.testing.assert_allclose(
            score(counts, deeper, observed), score(counts, rates, observed), rtol=1e-6
        )


def test_poisson_score_is_nan_where_the_observed_counts_are_perfect(counts: np.ndarray) -> None:
    assert np.isnan(metrics.poisson_score(counts, counts, counts))


def test_gene_deviance_explained_equals_scikit_learn_at_equal_depth() -> None:
    held_out = np.array([[3, 7], [6, 4], [1, 9], [8, 2]])
    observed = 1_000_000 * np.tile(held_out.mean(axis=0), (4, 1))  # the pseudocount vanishes
    rates = np.array([[4.0, 6], [5, 5], [2, 8], [7, 3]])
    expected = [
        sklearn_metrics.d2_tweedie_score(held_out[:, g], rates[:, g], power=1) for g in (0, 1)
    ]

    scores = metrics.gene_deviance_explained(held_out, rates, observed, min_molecules=1)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_gene_deviance_explained_is_zero_for_the_mean_profile(
    counts: np.ndarray, observed: np.ndarray
) -> None:
    profile = np.tile(observed.sum(axis=0) + 0.5, (SHAPE[0], 1))
    scores = metrics.gene_deviance_explained(counts, profile, observed, min_molecules=1)
    np.testing.assert_allclose(scores, 0, atol=1e-5)


def test_gene_deviance_explained_leaves_out_genes_with_few_molecules(
    rates: np.ndarray, observed: np.ndarray
) -> None:
    held_out = np.ones(SHAPE, dtype=int)
    held_out[:, 0] = 0
    held_out[20:, 1] = 0
    held_out[19:, 2] = 0
    scores = metrics.gene_deviance_explained(held_out, rates, observed)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(scores)), [0, 2])


def test_errors_equal_scikit_learn(counts: np.ndarray, rates: np.ndarray) -> None:
    pairs = {
        metrics.mse: sklearn_metrics.mean_squared_error,
        metrics.rmse: sklearn_metrics.root_mean_squared_error,
        metrics.l1: sklearn_metrics.mean_absolute_error,
    }
    for ours, theirs in pairs.items():
        assert ours(counts, rates) == pytest.approx(theirs(counts.ravel(), rates.ravel()))
        per_gene = theirs(counts, rates, multioutput="raw_values")
        np.testing.assert_allclose(ours(counts, rates, axis=0), per_gene)
        per_cell = theirs(counts.T, rates.T, multioutput="raw_values")
        np.testing.assert_allclose(ours(counts, rates, axis=1), per_cell)


def test_pearson_equals_scipy(counts: np.ndarray, rates: np.ndarray) -> None:
    pooled = stats.pearsonr(counts.ravel(), rates.ravel()).statistic
    assert metrics.pearson(counts, rates) == pytest.approx(pooled)
    for axis in (0, 1):
        expected = stats.pearsonr(counts.astype(float), rates, axis=axis).statistic
        np.testing.assert_allclose(metrics.pearson(counts, rates, axis=axis), expected)


def test_pearson_is_nan_for_constant_genes(rates: np.ndarray) -> None:
    constant = rates.copy()
    constant[:, 3] = 0.1
    for truth, prediction in ((constant, rates), (rates, constant)):
        r = metrics.pearson(truth, prediction, axis=0)
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(r)), [3])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("axis", [None, 0, 1], ids=["pooled", "per gene", "per cell"])
@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array])
def test_sparse_input_gives_the_dense_result_block_by_block(
    kind: type, axis: int | None, counts: np.ndarray, rates: np.ndarray
) -> None:
    for metric in (
        metrics.poisson_deviance,
        metrics.mse,
        metrics.rmse,
        metrics.l1,
        metrics.pearson,
    ):
        expected = metric(counts, rates, axis=axis)
        np.testing.assert_allclose(metric(kind(counts), rates, axis=axis), expected)
        np.testing.assert_allclose(metric(kind(counts), kind(rates), axis=axis), expected)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array])
def test_sparse_molecules_give_the_dense_scores(
    kind: type, counts: np.ndarray, rates: np.ndarray, observed: np.ndarray
) -> None:
    for score in (metrics.poisson_score, metrics.gene_deviance_explained):
        expected = score(counts, rates, observed)
        np.testing.assert_allclose(score(kind(counts), rates, kind(observed)), expected)
        np.testing.assert_allclose(score(kind(counts), kind(rates), observed), expected)


def test_metrics_leave_their_input_untouched(rates: np.ndarray, observed: np.ndarray) -> None:
    duplicated = sparse.coo_array(([1, 2, 0], ([0, 0, 1], [0, 0, 1])), shape=SHAPE)
    before = duplicated.copy()
    score = metrics.poisson_score(duplicated, rates, observed)
    assert score == pytest.approx(metrics.poisson_score(before.toarray(), rates, observed))
    np.testing.assert_array_equal(duplicated.data, before.data)


@pytest.mark.parametrize("metric", [metrics.poisson_deviance, metrics.mse, metrics.pearson])
def test_shapes_that_differ_are_refused(metric: object, counts: np.ndarray) -> None:
    with pytest.raises(ValueError, match="one shape"):
        metric(counts, counts[:, :-1])  # type: ignore[operator]


def test_matrices_without_entries_are_refused() -> None:
    with pytest.raises(ValueError, match="no entries"):
        metrics.mse(np.ones((0, 3)), np.ones((0, 3)))


@pytest.mark.parametrize("wrong", [-1.0, np.nan], ids=["negative", "NaN"])
def test_negative_and_missing_rates_are_refused(
    wrong: float, counts: np.ndarray, rates: np.ndarray
) -> None:
    rates[0, 0] = wrong
    with pytest.raises(ValueError, match="rates must not be negative or NaN"):
        metrics.poisson_deviance(counts, rates)
    with pytest.raises(ValueError, match="observed must not be negative or NaN"):
        metrics.poisson_score(counts, counts, rates)


@few_examples
@given(counts=COUNTS, seed=st.integers(0, 100))
def test_poisson_deviance_is_never_negative_and_zero_for_the_counts(
    counts: np.ndarray, seed: int
) -> None:
    rates = np.random.default_rng(seed).gamma(1.0, 5.0, size=counts.shape)
    assert np.all(metrics.poisson_deviance(counts, rates, axis=0) >= 0)
    assert metrics.poisson_deviance(counts, counts) == pytest.approx(0, abs=1e-12)


@few_examples
@given(matrices=EXPRESSION)
def test_errors_are_symmetric_and_ordered(matrices: np.ndarray) -> None:
    truth, prediction = matrices
    for metric in (metrics.mse, metrics.rmse, metrics.l1):
        assert metric(truth, prediction) == metric(prediction, truth)
        assert metric(truth, truth) == 0
    assert metrics.l1(truth, prediction) <= metrics.rmse(truth, prediction) * (1 + 1e-12)


@few_examples
@given(matrices=EXPRESSION, shift=st.floats(-10, 10), scale=st.floats(0.1, 10))
def test_pearson_stays_within_one_whatever_the_scale(
    matrices: np.ndarray, shift: float, scale: float
) -> None:
    truth, prediction = matrices
    r = metrics.pearson(truth, prediction, axis=0)
    rescaled = metrics.pearson(truth, scale * prediction + shift, axis=0)
    assert np.all(np.isnan(r) | (np.abs(r) <= 1))
    np.testing.assert_allclose(rescaled, r, atol=1e-6)
