"""Tests of scVI as a peer."""

from __future__ import annotations

import numpy as np
import pytest
import scvi as scvi_tools

from scdtl.tl.peers._peer import Options
from scdtl.tl.peers._scvi import scvi


def test_it_is_reproducible_and_leaves_the_settings_of_scvi_tools(adata):
    seed_before = scvi_tools.settings.seed
    options = Options(seed=1, batch_key="batch")
    first, second = (scvi(adata.copy(), options, max_epochs=2) for _ in range(2))
    assert scvi_tools.settings.seed == seed_before
    assert np.array_equal(first, second)
    assert first.sum(axis=1) == pytest.approx(1, abs=1e-4)
