"""Tests of MAGIC as a peer."""

from __future__ import annotations

import pytest

from scdtl.tl import evaluate
from scdtl.tl.peers._magic import magic
from scdtl.tl.peers._peer import Options

pytest.importorskip("magic")


def test_magic_smooths_further_with_more_steps(planted):
    spread = [magic(planted[0], Options(seed=0), t).std(axis=0).mean() for t in (1, 6)]
    assert spread[1] < spread[0]


def test_it_predicts_held_out_molecules(pbmc_counts):
    scores = evaluate(pbmc_counts[::4, ::3], methods=["magic"]).scores
    assert scores.loc["magic", "poisson_score"] > 0.2
