"""Tests of ALRA: it does what its authors' code does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scdtl.tl.peers._alra import alra, alra_rank
from scdtl.tl.peers._peer import Options

OPTIONS = Options(seed=0)


def log_cp10k(counts):
    total = counts.sum(axis=1, keepdims=True)
    return np.log1p(counts * np.divide(1e4, total, out=np.zeros_like(total), where=total > 0))


def alra_as_in_r(log_counts, k):
    """alra.R gene by gene, with an exact SVD."""
    u, d, v = np.linalg.svd(log_counts, full_matrices=False)
    low_rank = (u[:, :k] * d[:k]) @ v[:k]
    completed = np.zeros_like(low_rank)
    for gene, observed in enumerate(log_counts.T):
        values = low_rank[:, gene]
        kept = values > abs(np.quantile(values, 0.001))
        nonzero = observed[observed > 0]
        if not len(nonzero):
            continue
        if kept.sum() > 1 and len(nonzero) > 1 and values[kept].std(ddof=1) > 0:
            scaled = (values - values[kept].mean()) / values[kept].std(ddof=1)
            values = scaled * nonzero.std(ddof=1) + nonzero.mean()
        values = np.where(kept, np.maximum(values, 0), 0)
        completed[:, gene] = np.where(values == 0, observed, values)
    return completed


@pytest.fixture
def _rank_of_the_kinds(monkeypatch):
    monkeypatch.setattr("scdtl.tl.peers._alra.alra_rank", lambda log_counts, seed: 3)


@pytest.mark.usefixtures("_rank_of_the_kinds")
def test_alra_agrees_with_a_transcription_of_its_r_code(planted):
    cells = planted[0]
    expected = alra_as_in_r(log_cp10k(cells.X.toarray().astype(float)), k=3)
    np.testing.assert_allclose(np.log1p(alra(cells, OPTIONS)), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("n_cells", [100, 40])
def test_alra_takes_the_last_spacing_of_singular_values_that_is_no_noise(n_cells):
    random = np.random.default_rng(0)
    noise = 10 + random.uniform(0.1, 0.2, size=n_cells - 3).cumsum()
    singular_values = np.append([200, 190, 100], noise[::-1])
    u, v = (np.linalg.qr(random.normal(size=(n, n_cells)))[0] for n in (n_cells, 150))
    assert alra_rank(sparse.csr_matrix((u * singular_values) @ v.T), 0) == 3


def test_alra_restores_dropped_values_and_leaves_silent_genes_zero(planted):
    cells, counts, dropped = planted
    rates = alra(cells, OPTIONS)
    assert (rates >= 0).all()
    assert not rates[:, ~counts.any(axis=0)].any()
    depth = cells.X.toarray().sum(axis=1, keepdims=True).astype(float)
    truth = np.log1p(counts * 1e4 / depth)[dropped]
    assert np.mean((np.log1p(rates[dropped]) - truth) ** 2) < 0.2 * np.mean(truth**2)


@pytest.mark.usefixtures("_rank_of_the_kinds")
def test_alra_keeps_observed_values_and_the_mean_of_a_genes_nonzeros(planted):
    cells = planted[0]
    observed = log_cp10k(cells.X.toarray().astype(float))
    completed = np.log1p(alra(cells, OPTIONS))
    assert (completed[observed > 0] > 0).all()
    has_counts = observed.any(axis=0)
    means = [
        np.where(values > 0, values, np.nan)[:, has_counts] for values in (observed, completed)
    ]
    assert np.nanmean(means[1], axis=0) == pytest.approx(np.nanmean(means[0], axis=0), rel=0.005)


@pytest.mark.parametrize("n_cells", [1, 2, 3, 5, 60])
def test_alra_takes_small_data(adata, n_cells):
    cells = adata[:n_cells].copy()
    counts = sparse.csr_matrix(cells.X).toarray()
    counts[0] = 0  # a cell without molecules
    cells.X = sparse.csr_matrix(counts)
    rates = alra(cells, OPTIONS)
    assert rates.shape == cells.shape
    assert np.isfinite(rates).all()
    assert not rates[0].any()
    assert (rates[counts > 0] > 0).all()


def test_alra_is_the_same_for_the_same_seed(planted):
    cells = planted[0]
    assert np.array_equal(alra(cells, OPTIONS), alra(cells, OPTIONS))
