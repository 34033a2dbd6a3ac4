"""Tests of the posterior that every peer's rates of UMIs are scored with too."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scdtl.data._thin import thin
from scdtl.tl import evaluate
from scdtl.tl._posterior import with_posterior


def by_hand(rates, counts):
    """The formulas, in double precision and on whole matrices."""
    rates = rates * (counts.sum(axis=1) / rates.sum(axis=1))[:, None]
    least = (counts.sum(axis=1) ** 2).sum() * (counts.sum(axis=0) / counts.sum()) ** 2
    squares = np.maximum((rates**2).sum(axis=0), least)
    phi = np.clip(((counts - rates) ** 2 - rates).sum(axis=0) / squares, 0, None)
    return rates * (1 + phi * counts) / (1 + phi * rates)


def test_it_is_that_of_the_formulas_in_blocks_dense_and_sparse(pbmc_counts):
    counts = pbmc_counts.X.toarray().astype(float)
    rates = np.random.default_rng(0).gamma(1, size=counts.shape)
    rates[rates < 0.5] = 0
    expected = by_hand(rates, counts)
    np.testing.assert_allclose(with_posterior(rates, pbmc_counts.X), expected, rtol=1e-4)
    of_sparse = with_posterior(sparse.csr_matrix(rates), pbmc_counts.X)
    assert sparse.issparse(of_sparse)
    np.testing.assert_allclose(of_sparse.toarray(), expected, rtol=1e-4)


def test_cells_without_rates_or_counts_stay_zero():
    counts = sparse.csr_matrix([[3.0, 0.0], [0.0, 0.0], [2.0, 1.0]])
    rates = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    found = with_posterior(rates, counts)
    assert np.isfinite(found).all()
    assert not found[1:].any()


def test_the_row_is_the_score_of_the_posterior_of_the_rates_of_one_run(pbmc_counts):
    calls = []

    def mine(cells):
        calls.append(1)
        return np.tile(np.asarray(cells.X.sum(axis=0)) + 0.5, (cells.n_obs, 1))

    given = pbmc_counts[::4, ::3]
    scores = evaluate(given, methods=[mine, "mean profile"], random_state=2).scores
    kept, held_out = (
        part.toarray().astype(float) for part in thin(given.X, 0.9, np.random.default_rng(2))
    )
    depth = held_out.sum(axis=1, keepdims=True)

    def loss(rates):
        rates = rates * (depth / rates.sum(axis=1, keepdims=True))
        return np.mean(rates - held_out * np.log(rates + 1e-6))

    rates = by_hand(np.tile(kept.sum(axis=0) + 0.5, (len(kept), 1)), kept)
    expected = (loss(kept) - loss(rates)) / (loss(kept) - loss(held_out))
    for name in ("mine", "mean profile"):
        row = scores.loc[f"{name} + posterior"]
        assert row["poisson_score"] == pytest.approx(expected, abs=1e-5)
        assert row["seconds"] == scores.loc[name, "seconds"]
    assert expected > scores.loc["mean profile", "poisson_score"]
    assert len(calls) == 1


def test_counts_and_scdtl_get_no_second_row(pbmc_counts):
    def dense_counts(cells):
        return cells.X.toarray()

    scores = evaluate(
        pbmc_counts[::4, ::3],
        methods=["observed", dense_counts, "scdtl"],
        bulk=None,
        max_epochs=0,
        verbose=False,
    ).scores
    assert list(scores.index) == ["observed", "dense_counts", "scdtl"]


def test_rates_of_the_user_stay_as_they_are(pbmc_counts):
    given = pbmc_counts[::4, ::3]
    rates = np.ones(given.shape)
    evaluate(given, methods=[lambda cells: rates])
    assert (rates == 1).all()
