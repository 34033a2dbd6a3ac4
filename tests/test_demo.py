"""Tests of the demo, on a single run of it."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pytest

from scdtl import _demo
from scdtl.datasets import pbmc68k_counts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Folder and scores of the run."""
    folder = tmp_path_factory.mktemp("demo") / "new" / "scdtl_demo"
    with warnings.catch_warnings(action="ignore"):
        return folder, _demo.run_demo(folder)


def test_demo_leaves_one_file_and_one_figure(demo):
    folder, _ = demo
    assert sorted(file.name for file in folder.iterdir()) == ["demo.png", "pbmc68k_imputed.h5ad"]
    assert (folder / "demo.png").stat().st_size > 50_000


def test_demo_clusters_the_imputed_layer_of_untouched_counts(demo):
    folder, _ = demo
    adata = anndata.read_h5ad(folder / "pbmc68k_imputed.h5ad")
    assert (adata.X != pbmc68k_counts().X).nnz == 0
    assert np.isfinite(adata.layers["scdtl"]).all()
    assert 4 <= adata.obs["leiden"].nunique() <= 30
    assert {"X_scdtl", "X_pca", "X_umap", "X_umap_raw"} <= set(adata.obsm)


def test_demo_predicts_held_out_molecules_better_than_the_mean_profile(demo):
    _, scores = demo
    assert list(scores.index) == ["raw counts", "mean profile", "scdtl"]
    assert scores.loc["raw counts", "Poisson score"] == 0
    assert (
        scores.loc["scdtl", "Poisson score"] > scores.loc["mean profile", "Poisson score"] + 0.05
    )
    assert scores.loc["scdtl", "gene D²"] > 0.08
