"""Tests of the loadings of the genes that weights keep."""

from __future__ import annotations

import numpy as np
import pytest

from scdtl.model._loadings import co_expression_loadings


@pytest.fixture
def samples():
    """Twelve samples of two studies, which measure genes with very different gains."""
    rng = np.random.default_rng(0)
    activity, programmes = rng.normal(size=(12, 3)), rng.normal(size=(3, 200))
    expression = np.exp(rng.normal(size=200) + 0.3 * activity @ programmes)
    studies = np.repeat(["a", "b"], [8, 4])
    gains = np.exp(rng.normal(size=(2, 200)))
    return expression, studies, gains[(studies == "b").astype(int)]


def covariance(expression, studies):
    mean = (expression / np.nansum(expression, 1, keepdims=True)).mean(0)
    loadings = co_expression_loadings(expression.astype(np.float32), studies, np.log(mean))
    return loadings @ loadings.T


def test_products_of_loadings_are_covariances_within_studies(samples):
    expression, studies, gains = samples
    expression = expression * gains
    logs = np.log1p(1e4 * expression / expression.sum(1, keepdims=True))
    expected = sum(np.cov(logs[studies == study].T, bias=True) for study in "ab")
    np.testing.assert_allclose(covariance(expression, studies), expected, rtol=1e-2, atol=1e-4)


def test_loadings_do_not_come_from_the_means_of_studies(samples):
    expression, studies, gains = samples
    without = covariance(expression, studies)

    def off(covariances):
        return np.linalg.norm(covariances - without) / np.linalg.norm(without)

    assert off(covariance(expression * gains, studies)) < 0.2
    assert off(covariance(expression * gains, np.repeat("one", 12))) > 1


def test_a_gene_that_a_study_lacks_has_the_covariances_of_the_others(samples):
    expression, studies, _ = samples
    lacking = expression.copy()
    lacking[8:, 0] = np.nan
    found = covariance(lacking, studies)
    assert np.isfinite(found).all()
    alone = covariance(expression, studies)
    of_study_a = np.cov(np.log(expression[:8]).T, bias=True)
    assert abs(found[0, 0] - of_study_a[0, 0]) < abs(alone[0, 0] - of_study_a[0, 0])
