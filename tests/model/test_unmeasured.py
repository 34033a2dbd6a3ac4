"""Tests of the mathematics of genes that were not measured, against ones that are known."""

from __future__ import annotations

import numpy as np
import pytest

from scdtl.datasets import toy
from scdtl.model._transfer import matches_of
from scdtl.model._unmeasured import Genes, Unmeasured
from scdtl.pp import impute


@pytest.fixture(scope="module")
def weights(toy_bulk_model):
    return toy_bulk_model.to_weights()


@pytest.fixture(scope="module")
def unmeasured(weights):
    """Of a model of 30 of the 40 genes in 300 cells."""
    panel = toy(n_obs=300)[:, :30].copy()
    model = impute(panel, bulk=weights, max_epochs=3, verbose=False, return_model=True)
    return Unmeasured(model, weights)


@pytest.fixture(scope="module")
def lacking(weights, unmeasured):
    measured = matches_of(weights, [f"GENE{i}" for i in range(30)]).position
    return Genes.of(weights, np.setdiff1d(np.arange(40), measured))


def correlation(x, y):
    return np.array([np.corrcoef(x[:, i], y[:, i])[0, 1] for i in range(x.shape[1])])


def test_rates_have_the_level_of_bulk_as_their_mean_and_the_ratios_of_the_cells():
    genes = Genes(np.zeros((3, 2)), np.array([0.1, 0.02, 1e-6]))
    log_ratios = np.random.default_rng(0).normal(size=(50, 3))
    rates = genes.rates(log_ratios)
    assert rates.mean(0) == pytest.approx(genes.level)
    assert np.log(rates[0] / rates[1]) == pytest.approx(log_ratios[0] - log_ratios[1])


def test_predictions_follow_the_true_rates_of_genes_that_were_never_seen(unmeasured, lacking):
    rates = toy(n_obs=300).layers["rates"][:, 30:]
    reached = correlation(unmeasured.log_ratios(lacking), np.log(rates))
    assert np.median(reached) > 0.5
    assert reached.min() > 0


def test_log_ratios_are_linear_in_the_loadings(unmeasured, lacking):
    log_ratios = unmeasured.log_ratios(lacking)
    doubled = unmeasured.log_ratios(Genes(2 * lacking.loadings, lacking.level))
    assert doubled == pytest.approx(2 * log_ratios, rel=1e-4, abs=1e-5)
    assert log_ratios.mean(0) == pytest.approx(0, abs=1e-4)
    nothing = Genes(np.zeros_like(lacking.loadings), lacking.level)
    assert not unmeasured.log_ratios(nothing).any()


def test_a_gene_that_is_predicted_flat_promises_nothing(unmeasured, lacking):
    nothing = Genes(np.zeros_like(lacking.loadings), lacking.level)
    expected = unmeasured.expected_r(nothing, unmeasured.log_ratios(nothing))
    assert expected == pytest.approx(0, abs=1e-5)


def test_a_rare_gene_promises_less_than_the_same_gene_if_abundant(unmeasured, lacking):
    log_ratios = unmeasured.log_ratios(lacking)
    rare = Genes(lacking.loadings, lacking.level / 1000)
    expected = unmeasured.expected_r(lacking, log_ratios)
    assert (unmeasured.expected_r(rare, log_ratios) < expected).all()


def test_what_to_expect_is_what_genes_that_were_held_back_reach(unmeasured, lacking):
    counts = toy(n_obs=300).X.toarray()
    observed = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)[:, 30:]
    log_ratios = unmeasured.log_ratios(lacking)
    expected = unmeasured.expected_r(lacking, log_ratios)
    assert expected.mean() == pytest.approx(correlation(log_ratios, observed).mean(), abs=0.1)
