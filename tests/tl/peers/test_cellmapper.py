"""Tests of CellMapper as a peer."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import scanpy as sc
import torch
from scipy import sparse

from scdtl.tl import evaluate
from scdtl.tl.peers._cellmapper import cellmapper
from scdtl.tl.peers._peer import Options

package = pytest.importorskip("cellmapper")


def dense(rates):
    return rates.toarray() if sparse.issparse(rates) else rates


@pytest.mark.filterwarnings("ignore")  # of the libraries, where they are called here
def test_it_does_what_its_author_does(pbmc_counts):
    adata = pbmc_counts[::4].copy()
    adata.layers["counts"] = adata.X.copy()
    rates = dense(cellmapper(pbmc_counts[::4].copy(), Options(seed=0)))
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata)
    sc.pp.pca(adata)
    mapper = package.CellMapper(adata)
    mapper.compute_neighbors(use_rep="X_pca")
    mapper.compute_mapping_matrix(kernel_method="umap")
    mapper.map_layers(key="counts", t=3)
    assert np.array_equal(rates, dense(mapper.query_imputed.X))


def test_it_predicts_held_out_molecules(pbmc_counts):
    scores = evaluate(pbmc_counts[::4, ::3], methods=["cellmapper"]).scores
    assert scores.loc["cellmapper", "poisson_score"] > 0.2


def test_it_is_silent_and_leaves_everything_as_it_was(planted, capfd):
    cells = planted[0].copy()
    package.logger.setLevel(logging.INFO)
    torch.set_num_threads(1)
    cellmapper(cells, Options(seed=0))
    assert capfd.readouterr() == ("", "")
    assert package.logger.level == logging.INFO
    assert torch.get_num_threads() == 1
    assert (cells.X != planted[0].X).nnz == 0
    assert [*cells.obsm, *cells.uns, *cells.obsp] == []


@pytest.mark.parametrize(
    "shape", [(2, 40), (3, 40), (5, 40), (20, 40), (60, 2), (60, 3), (60, 20)]
)
def test_it_takes_small_data(adata, shape):
    cells = adata[: shape[0], : shape[1]].copy()
    rates = dense(cellmapper(cells, Options(seed=0)))
    assert rates.shape == cells.shape
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()
