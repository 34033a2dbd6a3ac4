"""Tests of co-expression: ridge regression on a cell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from scdtl.module._co_expression import RIDGE, CoExpression

N_GENES, N_COMPONENTS, N_CELLS, NOISE = 30, 4, 5, 0.02
UNKNOWN, LACKING = 3, [7, 21]


@pytest.fixture
def loadings():
    """Of 30 genes, one of which bulk does not know."""
    loadings = np.random.default_rng(0).normal(size=(N_GENES, N_COMPONENTS))
    loadings[UNKNOWN] = 0
    return loadings


@pytest.fixture
def deviation():
    """Of five cells that lack two of the genes."""
    deviation = np.random.default_rng(1).normal(size=(N_CELLS, N_GENES))
    deviation[:, LACKING] = 0
    return deviation


@pytest.fixture
def measured():
    return ~np.isin(np.arange(N_GENES), LACKING)


@pytest.fixture
def co_expression(loadings, measured):
    module = CoExpression(N_GENES, N_COMPONENTS)
    module.loadings.copy_(torch.tensor(loadings))
    module.regress_on(torch.tensor(measured), NOISE)
    return module


def tensor(values):
    return torch.tensor(values, dtype=torch.float32)


def test_each_gene_is_predicted_by_ridge_regression_on_the_others(
    co_expression, loadings, deviation, measured
):
    predicted = co_expression(tensor(deviation)).numpy()
    for gene in range(N_GENES):
        others = measured & (np.arange(N_GENES) != gene)
        regression = Ridge(alpha=RIDGE * NOISE, fit_intercept=False)
        regression.fit(loadings[others], deviation[:, others].T)
        expected = regression.predict(loadings[[gene]])[0]
        np.testing.assert_allclose(predicted[:, gene], expected, rtol=1e-3, atol=1e-4)


def test_the_own_count_of_a_gene_does_not_matter(co_expression, deviation):
    predicted = co_expression(tensor(deviation))[:, 11]
    deviation[:, 11] += 5
    torch.testing.assert_close(
        co_expression(tensor(deviation))[:, 11], predicted, rtol=1e-4, atol=1e-5
    )


def test_a_gene_unknown_to_bulk_is_not_predicted_and_predicts_nothing(co_expression, deviation):
    predicted = co_expression(tensor(deviation))
    assert not predicted[:, UNKNOWN].any()
    deviation[:, UNKNOWN] += 5
    torch.testing.assert_close(co_expression(tensor(deviation)), predicted)


def test_noisier_cells_are_pulled_closer_to_the_mean_profile(co_expression, deviation, measured):
    quiet = co_expression(tensor(deviation)).norm()
    co_expression.regress_on(torch.tensor(measured), 10 * NOISE)
    assert co_expression(tensor(deviation)).norm() < quiet


@pytest.mark.parametrize("n_components", [0, N_COMPONENTS])
def test_without_loadings_it_predicts_nothing(deviation, n_components):
    co_expression = CoExpression(N_GENES, n_components)
    co_expression.regress_on(torch.ones(N_GENES, dtype=torch.bool), 0.0)
    assert not co_expression(tensor(deviation)).any()


def test_cleared_it_predicts_nothing(co_expression, deviation):
    co_expression.clear()
    assert not co_expression(tensor(deviation)).any()


def test_a_corrected_gene_is_predicted_by_the_components_of_the_others(
    co_expression, loadings, deviation, measured
):
    bulk = co_expression(tensor(deviation)).numpy()
    correction = np.random.default_rng(2).normal(size=(N_GENES, N_COMPONENTS))
    co_expression.correct(tensor(correction))
    added = co_expression(tensor(deviation)).numpy() - bulk
    for gene in np.flatnonzero(measured):
        others = measured & (np.arange(N_GENES) != gene)
        regression = Ridge(alpha=RIDGE * NOISE, fit_intercept=False)
        regression.fit(loadings[others], deviation[:, others].T)
        expected = regression.coef_ @ correction[gene]
        np.testing.assert_allclose(added[:, gene], expected, rtol=1e-3, atol=1e-3)
