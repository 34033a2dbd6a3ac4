"""Tests of sums over cells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scdtl.data._counts import gene_totals

FORMATS = [np.asarray, sparse.csr_matrix, sparse.csc_array, sparse.coo_array]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.__name__)
def test_totals_are_exact_where_float32_is_not(form):
    counts = np.full((25_001, 2), 1_001, dtype=np.float32)
    counts[0, 1] = 0
    total = 25_001 * 1_001
    assert total > 2**24
    assert gene_totals(form(counts)).tolist() == [total, total - 1_001]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.__name__)
def test_the_counts_stay_as_they_are(form):
    counts = form(np.random.default_rng(0).poisson(1.0, (7, 5)))
    before = counts.copy()
    expected = np.random.default_rng(0).poisson(1.0, (7, 5)).sum(0)
    assert np.array_equal(gene_totals(counts), expected)
    assert counts.dtype == before.dtype
    assert (counts != before).sum() == 0
