"""Tests of the demo, on a single run of it."""

from __future__ import annotations

import contextlib
import io
import warnings

import anndata
import numpy as np
import pytest

from scdtl import _demo
from scdtl.datasets import pbmc68k_counts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Folder, scores and words of the run."""
    folder = tmp_path_factory.mktemp("demo") / "new" / "scdtl_demo"
    words = io.StringIO()
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(words):
        scores = _demo.run_demo(folder)
    return folder, scores, words.getvalue()


def test_demo_leaves_one_file_and_one_figure(demo):
    folder, *_ = demo
    assert sorted(file.name for file in folder.iterdir()) == ["demo.png", "pbmc68k_imputed.h5ad"]
    assert (folder / "demo.png").stat().st_size > 50_000


def test_demo_imputes_a_third_of_the_molecules_and_has_the_others_beside(demo):
    adata = anndata.read_h5ad(demo[0] / "pbmc68k_imputed.h5ad")
    everything = pbmc68k_counts()[adata.obs_names]
    assert (adata.X + adata.layers["held_out"] != everything.X).nnz == 0
    assert adata.X.sum() / everything.X.sum() == pytest.approx(1 / 3, abs=0.01)


def test_demo_is_nearer_to_the_held_out_molecules_than_what_was_measured(demo):
    adata = anndata.read_h5ad(demo[0] / "pbmc68k_imputed.h5ad")
    measured, truth = _log1p(adata.X), _log1p(adata.layers["held_out"])
    assert np.mean((adata.layers["scdtl"] - truth) ** 2) < 0.7 * np.mean((measured - truth) ** 2)


def _log1p(counts):
    dense = counts.toarray()
    return np.log1p(1e4 * dense / dense.sum(axis=1, keepdims=True))


def test_demo_gains_over_others_and_by_bulk(demo):
    scores = demo[1]
    assert scores.loc["raw counts", "Poisson score"] == 0
    for measure in scores.columns:
        of_scdtl = scores.loc["scdtl", measure]
        assert of_scdtl > scores[measure].drop(["scdtl", "scdtl without bulk"]).max()
        assert of_scdtl > scores.loc["scdtl without bulk", measure]
    gains = scores.loc["scdtl"] - scores.loc["scdtl without bulk"]
    assert gains["deviance explained"] > 0.01


def test_demo_says_what_a_user_would_ask(demo):
    _, scores, words = demo
    for question in ("Better than what?", "What is bulk worth?", "For which genes?", "to trust?"):
        assert question in words
    assert f"{scores.loc['scdtl', 'deviance explained']:.1%}" in words
    assert "nan" not in words
