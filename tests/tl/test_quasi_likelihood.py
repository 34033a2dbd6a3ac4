"""Tests of the quasi-likelihood test itself: sums of groups and their comparison."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse, stats

from scdtl.tl._quasi_likelihood import compare, sums_of_groups


@st.composite
def counts_and_codes(draw):
    """Sparse counts of a few cells in two groups, with at least two cells with counts each."""
    n_cells, n_genes = draw(st.tuples(st.integers(4, 9), st.integers(1, 5)))
    values = st.one_of(st.just(0), st.just(0), st.integers(0, 3), st.integers(0, 50_000))
    counts = draw(arrays(np.int64, (n_cells, n_genes), elements=values))
    for cell in range(4):
        counts[cell, draw(st.integers(0, n_genes - 1))] += 1
    others = draw(st.lists(st.integers(-1, 1), min_size=n_cells - 4, max_size=n_cells - 4))
    codes = np.array([0, 0, 1, 1, *others])
    return counts, codes


def two_groups(counts, codes):
    return sums_of_groups(sparse.csr_matrix(counts), codes)


@pytest.fixture(scope="module")
def pbmc_sums(pbmc_counts):
    codes = pbmc_counts.obs["bulk_labels"].cat.codes.to_numpy().copy()
    codes[::50] = -1
    return sums_of_groups(pbmc_counts.X, codes), codes


def test_sums_equal_those_of_the_dense_counts(pbmc_counts, pbmc_sums):
    dense = pbmc_counts.X.toarray().astype(float)
    depth = dense.sum(1)
    sums, codes = pbmc_sums
    assert len(sums) == 10
    for code, found in enumerate(sums):
        cells, sizes = dense[codes == code], depth[codes == code]
        expected = [cells.sum(0), (cells**2).sum(0), sizes @ cells, (cells > 0).sum(0)]
        assert np.array_equal(found.per_gene, expected)
        assert np.array_equal(found.of_cells, [sizes.sum(), (sizes**2).sum(), len(sizes)])


def test_moments_are_those_that_the_docstring_states(pbmc_counts, pbmc_sums):
    sums, codes = pbmc_sums
    dense = pbmc_counts.X.toarray().astype(float)[codes == 2]
    depth = dense.sum(1, keepdims=True)
    rate = dense.sum(0) / depth.sum()
    residuals = dense - depth * rate
    np.testing.assert_allclose(sums[2].rate, rate)
    np.testing.assert_allclose(sums[2].spread, ((depth * rate) ** 2).sum(0))
    np.testing.assert_allclose(
        sums[2].squared_residuals,
        (residuals**2).sum(0) * len(dense) / (len(dense) - 1),
        rtol=1e-9,
        atol=1e-9,
    )


def test_joined_groups_have_the_sums_of_their_cells_and_part_again(pbmc_counts, pbmc_sums):
    (a, b, *_), codes = pbmc_sums
    (joined,) = sums_of_groups(pbmc_counts.X, np.where(np.isin(codes, (0, 1)), 0, -1))
    for found, expected in ((a + b, joined), ((a + b) - b, a)):
        assert np.array_equal(found.per_gene, expected.per_gene)
        assert np.array_equal(found.of_cells, expected.of_cells)


def test_cells_without_counts_do_not_count():
    counts = np.array([[1, 2], [0, 0], [3, 0], [0, 0], [0, 4], [2, 2]])
    codes = np.array([0, 0, 0, 1, 1, 1])
    kept = counts.sum(1) > 0
    for found, expected in zip(
        two_groups(counts, codes), two_groups(counts[kept], codes[kept]), strict=True
    ):
        assert found.n_cells == 2
        assert np.array_equal(found.per_gene, expected.per_gene)


@given(counts_and_codes())
def test_results_are_finite_and_pvalues_are_probabilities(case):
    result = compare(*two_groups(*case))
    for values in result:
        assert np.isfinite(values).all()
    assert (result.pvals >= 0).all()
    assert (result.pvals <= 1).all()


@given(counts_and_codes())
def test_groups_that_change_places_change_the_sign_alone(case):
    a, b = two_groups(*case)
    result, turned = compare(a, b), compare(b, a)
    np.testing.assert_allclose(turned.scores, -result.scores, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(turned.pvals, result.pvals, rtol=1e-6)
    np.testing.assert_allclose(turned.logfoldchanges, -result.logfoldchanges, atol=1e-9)


@given(counts_and_codes())
def test_a_gene_without_counts_says_nothing(case):
    counts, codes = case
    with_silent = np.column_stack([np.zeros(len(counts), dtype=int), counts])
    result = compare(*two_groups(with_silent, codes))
    assert result.pvals[0] == 1
    assert result.scores[0] == 0
    assert result.logfoldchanges[0] == pytest.approx(0, abs=1e-12)


@given(counts_and_codes())
def test_score_and_fold_change_agree_in_sign(case):
    scores, _, changes = compare(*two_groups(*case))
    assert (scores * changes >= -1e-9).all()


def test_equal_groups_have_no_difference(pbmc_counts):
    counts = sparse.vstack([pbmc_counts.X[:50], pbmc_counts.X[:50]], format="csr")
    result = compare(*sums_of_groups(counts, np.repeat([0, 1], 50)))
    np.testing.assert_allclose(result.scores, 0, atol=1e-6)
    np.testing.assert_allclose(result.pvals, 1, atol=1e-6)
    np.testing.assert_allclose(result.logfoldchanges, 0, atol=1e-12)


def test_pvalues_are_uniform_where_counts_are_negative_binomial():
    rng = np.random.default_rng(0)
    depth = rng.lognormal(0, 0.5, (400, 1))
    means = depth * rng.uniform(0.5, 20, 2_000)
    counts = rng.poisson(means * rng.gamma(2, 0.5, means.shape))
    pvals = compare(*two_groups(counts, (np.arange(400) < 120).astype(int))).pvals
    assert stats.kstest(pvals, "uniform").statistic < 0.05
    assert (pvals < 0.01).mean() < 0.02
