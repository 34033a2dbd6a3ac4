"""Counts with a known truth, for every peer."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse


@pytest.fixture(scope="module")
def planted():
    """Counts of three kinds of 200 cells, and where they fell from; the last genes are silent."""
    random = np.random.default_rng(1)
    kinds = random.gamma(0.5, 20, size=(3, 150))
    truth = kinds[random.integers(3, size=200)] + 2
    truth[:, -10:] = 0
    counts = random.poisson(truth)
    dropped = (random.random(counts.shape) < 0.3) & (counts > 0)
    kept = np.where(dropped, 0, counts)
    return AnnData(sparse.csr_matrix(kept, dtype=np.float32)), counts, dropped
