"""Tests of MAGIC as a peer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scdtl.tl import evaluate
from scdtl.tl.peers._magic import magic
from scdtl.tl.peers._magic_on_logs import magic_on_logs
from scdtl.tl.peers._peer import Options

package = pytest.importorskip("magic")


def test_magic_smooths_further_with_more_steps(planted):
    spread = [magic(planted[0], Options(seed=0), t).std(axis=0).mean() for t in (1, 6)]
    assert spread[1] < spread[0]


def test_it_predicts_held_out_molecules(pbmc_counts):
    scores = evaluate(pbmc_counts[::4, ::3], methods=["magic"]).scores
    assert scores.loc["magic", "poisson_score"] > 0.2


@pytest.mark.filterwarnings("ignore")  # of MAGIC and its libraries, where they are called here
def test_on_logs_it_smooths_log1p_of_counts_per_10k(planted):
    counts = planted[0].X.toarray().astype(float)
    logs = np.log1p(counts * (1e4 / counts.sum(axis=1, keepdims=True)))
    magic_of_package = package.MAGIC(t=3, random_state=0, verbose=0)
    expected = np.maximum(magic_of_package.fit_transform(sparse.csr_matrix(logs)), 0)
    of_reads = magic_on_logs(planted[0], Options(seed=0, noise="reads"))
    np.testing.assert_allclose(of_reads.values, expected, rtol=0, atol=1e-4)
    assert of_reads.detection is None
    rates = magic_on_logs(planted[0], Options(seed=0))
    shares = np.expm1(expected) / np.expm1(expected).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rates, 1e4 * shares, rtol=1e-3)
