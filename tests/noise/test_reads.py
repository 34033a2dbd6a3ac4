"""Tests of the noise model of reads, against NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from scdtl.noise import Reads, Tally
from scdtl.noise._reads import logistic_fit

N_CELLS, N_GENES = 300, 40


@pytest.fixture
def counts():
    random = np.random.default_rng(0)
    values = random.poisson(random.gamma(0.5, 20, (N_CELLS, N_GENES)))
    values[:, -3:] = 0
    return sparse.csr_matrix(values, dtype=np.float32)


def log1p_10k(counts):
    dense = counts.toarray()
    return np.log1p(1e4 * dense / dense.sum(1, keepdims=True))


def test_held_out_entries_are_hidden_in_the_first_cells_alone(counts):
    prepared = Reads.prepared(counts)
    kept, held_out = Reads.hold_out(prepared, 0.2, 100, np.random.default_rng(1))
    shown, asked = Reads.held_out_pair(kept[:100], held_out)
    hidden = np.isnan(shown)
    assert hidden.mean() == pytest.approx(0.2, abs=0.02)
    np.testing.assert_array_equal(np.isnan(asked), ~hidden)
    truth = log1p_10k(counts)
    np.testing.assert_allclose(asked[hidden], truth[:100][hidden], rtol=1e-5)
    np.testing.assert_allclose(np.log1p(shown[~hidden]), truth[:100][~hidden], rtol=1e-5)
    np.testing.assert_array_equal(kept[100:].toarray(), prepared[100:].toarray())


def test_genes_without_counts_more_hide_no_other_entry(counts):
    wider = sparse.hstack([counts, np.zeros((N_CELLS, 5))], format="csr", dtype=np.float32)
    narrow, wide = (
        Reads.hold_out(Reads.prepared(c), 0.2, N_CELLS, np.random.default_rng(1))[0]
        for c in (counts, wider)
    )
    np.testing.assert_array_equal(wide.toarray()[:, :N_GENES], narrow.toarray())


def test_each_entry_is_shown_or_asked_and_held_out_ones_are_neither(counts):
    kept, _ = Reads.hold_out(Reads.prepared(counts), 0.2, N_CELLS, np.random.default_rng(1))
    shown, asked = Reads.pair(kept[:64], np.random.default_rng(2))
    held_out = np.isnan(kept[:64].toarray())
    is_shown, is_asked = ~np.isnan(shown), ~np.isnan(asked)
    np.testing.assert_array_equal(is_shown ^ is_asked, ~held_out)
    assert not (is_shown | is_asked)[held_out].any()
    share = is_asked.sum(1) / (~held_out).sum(1)
    assert 0.02 < share.min() < share.max() < 0.6  # 0.1 to 0.4, of 32 entries or so


def test_the_mean_profile_is_that_of_the_logarithms_that_are_known(counts):
    kept, _ = Reads.hold_out(Reads.prepared(counts), 0.2, N_CELLS, np.random.default_rng(1))
    noise, batch = Reads(N_GENES), np.zeros(N_CELLS, dtype=int)
    log_mean = noise.log_mean(noise.totals(kept, batch, 1))
    known = np.where(np.isnan(kept.toarray()), np.nan, log1p_10k(counts))
    found = np.log1p(1e4 * np.exp(log_mean[0].double().numpy()))
    np.testing.assert_allclose(found, np.nanmean(known, axis=0), rtol=1e-4)
    n_known = (~np.isnan(known)).sum(0)
    rate = ((known > 0).sum(0) + 0.5) / (n_known + 1)
    np.testing.assert_allclose(noise.detection, np.log(rate / (1 - rate)), rtol=1e-4)


def test_the_loss_is_the_squared_error_where_asked():
    log_mean = torch.log(torch.tensor([[1e-3, 1e-2]]))
    log_ratios = torch.tensor([[0.0, 1.0], [0.5, 0.0]])
    target = torch.tensor([[3.0, torch.nan], [torch.nan, torch.nan]])
    total, n = Reads.loss(log_ratios, log_mean, target)
    assert int(n) == 1
    assert float(total) == pytest.approx((np.log1p(10) - 3) ** 2, rel=1e-4)


def test_logistic_fit_is_that_of_scikit_learn():
    random = np.random.default_rng(0)
    features = np.column_stack([random.normal(size=(5000, 2)), np.ones(5000)])
    outcome = random.random(5000) < 1 / (1 + np.exp(-(features @ [1.5, -0.7, 0.4])))
    found = logistic_fit(torch.from_numpy(features), torch.from_numpy(outcome.astype(float)))
    peer = LogisticRegression(C=1.0, fit_intercept=False, max_iter=1000, tol=1e-8)
    np.testing.assert_allclose(found, peer.fit(features, outcome).coef_[0], atol=1e-3)


@pytest.fixture
def fitted(counts):
    """A noise model fitted to predictions that are the truth with noise."""
    noise, batch = Reads(N_GENES), np.zeros(N_CELLS, dtype=int)
    kept, held_out = Reads.hold_out(Reads.prepared(counts), 0.3, N_CELLS, np.random.default_rng(1))
    log_mean = noise.log_mean(noise.totals(kept, batch, 1))
    shown, asked = (torch.from_numpy(x) for x in Reads.held_out_pair(kept, held_out))
    truth = torch.from_numpy(log1p_10k(counts)).float()
    guess = (truth + torch.randn_like(truth)).clamp(min=0.05)
    scores = torch.log(torch.expm1(guess) / 1e4).masked_fill(log_mean < -1e3, -1e4)
    noise.fit([(scores, log_mean, shown, asked)])
    return noise, scores, log_mean, torch.from_numpy(counts.toarray()), asked


def test_chances_of_detection_are_calibrated(fitted):
    noise, scores, log_mean, counts, asked = fitted
    chance, _ = noise.posterior(scores, log_mean, counts).dropout(
        torch.zeros_like(counts).add_(1e-9)
    )
    assert not chance.any()  # there is a count everywhere
    hidden = ~asked.isnan()
    shown = counts.masked_fill(hidden, torch.nan)
    chance, _ = noise.posterior(scores, log_mean, shown).dropout(shown)
    detected = (asked > 0)[hidden].double()
    for low in (0.0, 0.25, 0.5, 0.75):
        inside = (chance[hidden] >= low) & (chance[hidden] < low + 0.25)
        if inside.sum() > 200:
            assert float(chance[hidden][inside].mean()) == pytest.approx(
                float(detected[inside].mean()), abs=0.08
            )


def test_the_posterior_lies_between_value_and_prediction_and_trusts_many_reads(fitted):
    noise, scores, log_mean, counts, _ = fitted
    posterior = noise.posterior(scores, log_mean, counts)
    size = counts.sum(1, keepdim=True)
    value = torch.log1p(counts * 1e4 / size)
    mean = torch.log1p(posterior.mean * 1e4 / size)
    _, expressed = posterior.dropout(counts)
    predicted = torch.log1p(expressed * 1e4 / size)
    positive = counts > 0
    low, high = torch.minimum(value, predicted), torch.maximum(value, predicted)
    assert (mean[positive] >= low[positive] - 1e-4).all()
    assert (mean[positive] <= high[positive] + 1e-4).all()
    moved = ((mean - value).abs() / (predicted - value).abs().clamp(min=1e-3))[positive]
    few, many = counts[positive] <= 2, counts[positive] >= 50
    assert moved[few].mean() > 3 * moved[many].mean()
    # A zero stands for at most half a read.
    assert (posterior.mean[~positive] <= 0.5 + 1e-5).all()


def test_genes_that_are_predicted_well_are_trusted_and_noise_is_not():
    random = np.random.default_rng(0)
    n_genes, n_entries = 2000, 30
    is_good = np.arange(n_genes) < 400
    promise = np.where(is_good, 0.3, 0.01) * random.lognormal(0, 0.3, n_genes)
    # Genes of noise promise as little as they gain: nothing, less than nothing for some.
    gain = random.normal(np.where(is_good, promise, -0.01)[:, None], 0.5, (n_genes, n_entries))
    n = torch.full((n_genes,), n_entries, dtype=torch.float64)
    gains = torch.from_numpy(gain)
    tally = Tally(
        n, gains.sum(1), gains.square().sum(1), n, torch.full_like(n, 2), torch.from_numpy(promise)
    )
    trusted = Reads(n_genes).trusted(tally).numpy()
    assert trusted[is_good].mean() > 0.8
    assert trusted[~is_good].mean() < 0.01
    untold = tally._replace(evidence=torch.zeros_like(n))
    assert not Reads(n_genes).trusted(untold).any()
