"""Metrics against independent libraries, and properties that hold for any matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse, special, stats
from sklearn import metrics as sklearn_metrics

from scdtl import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (30, 12)
METRICS: list[Callable] = [
    metrics.poisson_deviance,
    metrics.mse,
    metrics.rmse,
    metrics.l1,
    metrics.pearson,
]
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
    monkeypatch.setattr(metrics._matrices, "_BLOCK_ENTRIES", 7 * SHAPE[1])


def poisson_loss(counts: np.ndarray, rates: np.ndarray) -> float:
    """The loss of OpenProblems' denoising task, with the prediction as the rate."""
    total = rates.sum(axis=1, keepdims=True)
    scaled = counts.sum(axis=1, keepdims=True) * rates / np.where(total > 0, total, 1)
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


def test_cells_and_genes_without_molecules_have_the_deviance_of_their_rates() -> None:
    # d(0, μ) = 2μ; the matrix is wider than it is high.
    counts, rates = np.array([[1, 0, 0], [0, 0, 0]]), np.array([[1, 1, 2], [1, 0, 4]])
    per_cell = metrics.poisson_deviance(counts, rates, axis=1)
    np.testing.assert_allclose(per_cell, [6 / 3, 10 / 3])
    per_gene = metrics.poisson_deviance(counts, rates, axis=0)
    np.testing.assert_allclose(per_gene, [2 / 2, 2 / 2, 12 / 2])
    empty = sparse.csr_matrix(counts.shape)
    assert metrics.poisson_deviance(empty, rates) == pytest.approx(18 / 6)
    assert metrics.poisson_deviance(empty, empty) == 0


def test_poisson_score_equals_torch(
    counts: np.ndarray, rates: np.ndarray, observed: np.ndarray
) -> None:
    rates[5] = 0  # a cell for which nothing is predicted keeps rate 0
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
    deeper = rates * np.geomspace(1e-4, 30, SHAPE[0])[:, None]
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


def test_gene_deviance_explained_equals_its_formula(
    counts: np.ndarray, rates: np.ndarray, observed: np.ndarray
) -> None:
    rates[counts > 3] = 0  # molecules at rate 0 cost what they would at the floor
    rates[5] = 0
    depth, total = counts.sum(axis=1, keepdims=True), rates.sum(axis=1, keepdims=True)
    profile = observed.sum(axis=0) + 0.5

    def deviance(mu: np.ndarray) -> np.ndarray:
        return (special.xlogy(counts, counts / (mu + 1e-6)) - counts + mu).sum(axis=0)

    scaled = depth * rates / np.where(total > 0, total, 1)
    expected = 1 - deviance(scaled) / deviance(depth * profile / profile.sum())
    scores = metrics.gene_deviance_explained(counts, rates, observed, min_molecules=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_gene_deviance_explained_is_minus_infinity_beside_a_perfect_mean_profile() -> None:
    ones = np.ones((2, 2))
    scores = metrics.gene_deviance_explained(ones, ones * [1, 3], ones, min_molecules=1)
    np.testing.assert_array_equal(scores, -np.inf)


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
    held_out[1:, 1] = 0
    for at_least, left_out in ((0, [0]), (1, [0]), (2, [0, 1])):
        scores = metrics.gene_deviance_explained(held_out, rates, observed, at_least)
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(scores)), left_out)
    nothing = metrics.gene_deviance_explained(0 * held_out, rates, observed, 0)
    assert np.isnan(nothing).all()


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
    # Whether a gene is constant is judged on its own scale, not on that of the others.
    scaled = rates * np.logspace(0, 15, SHAPE[1])
    per_gene = metrics.pearson(counts, scaled, axis=0)
    np.testing.assert_allclose(per_gene, metrics.pearson(counts, rates, axis=0))


def test_pearson_of_a_multiple_is_one_and_no_more(rates: np.ndarray) -> None:
    for axis in (0, 1):
        r = metrics.pearson(rates, 3 * rates, axis=axis)
        np.testing.assert_allclose(r, 1)
        assert r.max() <= 1


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_pearson_is_nan_for_constant_genes(value: float, rates: np.ndarray) -> None:
    constant = rates.copy()
    constant[:, 3] = value
    for truth, prediction in ((constant, rates), (rates, constant)):
        r = metrics.pearson(truth, prediction, axis=0)
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(r)), [3])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("axis", [None, 0, 1], ids=["pooled", "per gene", "per cell"])
@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array])
def test_sparse_input_gives_the_dense_result_block_by_block(
    kind: type, axis: int | None, counts: np.ndarray, rates: np.ndarray
) -> None:
    for metric in METRICS:
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


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, bool])
def test_narrow_types_give_the_result_of_floats(
    metric: Callable, dtype: type, counts: np.ndarray, observed: np.ndarray
) -> None:
    truth, prediction = (1 + matrix.clip(0, 126).astype(dtype) for matrix in (counts, observed))
    expected = metric(truth.astype(float), prediction.astype(float), axis=1)
    np.testing.assert_allclose(metric(truth, prediction, axis=1), expected)


@pytest.mark.parametrize("metric", METRICS)
def test_a_pooled_result_is_a_plain_number(
    metric: Callable, counts: np.ndarray, rates: np.ndarray
) -> None:
    assert type(metric(counts, rates)) is float


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("axis", [2, -1, True, "genes"])
def test_other_axes_are_refused(metric: Callable, axis: object, counts: np.ndarray) -> None:
    with pytest.raises(ValueError, match="axis must be None, 0 .* or 1"):
        metric(counts, counts, axis=axis)


@pytest.mark.parametrize(
    ("metric", "names"),
    [
        (metrics.poisson_deviance, "counts and rates"),
        (metrics.mse, "truth and prediction"),
        (metrics.pearson, "truth and prediction"),
    ],
)
def test_what_are_no_matrices_of_one_shape_is_refused(
    metric: Callable, names: str, counts: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=f"^{names} .* one shape"):
        metric(counts, counts[:, :-1])
    with pytest.raises(TypeError, match=f"^{names} must be arrays.* list"):
        metric(counts, counts.tolist())
    with pytest.raises(TypeError, match=f"^{names} must be arrays.* DataFrame"):
        metric(counts, pd.DataFrame(counts))
    with pytest.raises(TypeError, match=f"^{names} must be arrays"):
        metric(counts, counts.astype(str))


def test_matrices_without_entries_are_refused() -> None:
    with pytest.raises(ValueError, match="no entries"):
        metrics.mse(np.ones((0, 3)), np.ones((0, 3)))


@pytest.mark.parametrize("wrong", [-1.0, np.nan], ids=["negative", "NaN"])
def test_negative_and_missing_rates_are_refused(
    wrong: float, counts: np.ndarray, rates: np.ndarray
) -> None:
    rates[0, 0] = wrong
    with pytest.raises(ValueError, match="^rates must not be negative or NaN"):
        metrics.poisson_deviance(counts, rates)
    with pytest.raises(ValueError, match="^counts must not be negative or NaN"):
        metrics.poisson_deviance(rates, counts)
    for score in (metrics.poisson_score, metrics.gene_deviance_explained):
        with pytest.raises(ValueError, match="^observed must not be negative or NaN"):
            score(counts, counts, rates)


def test_infinite_rates_are_refused(counts: np.ndarray, rates: np.ndarray) -> None:
    rates[0, 0] = np.inf
    with pytest.raises(ValueError, match="^rates must be finite"):
        metrics.poisson_deviance(counts, rates)


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
