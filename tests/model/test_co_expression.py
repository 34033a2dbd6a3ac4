"""Tests of when bulk co-expression speaks: where it predicts held-out molecules of the cells."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scdtl import pp
from scdtl.pretrained import load_weights

N_CELLS = 80


@pytest.fixture(scope="module")
def weights():
    return load_weights("human")


@pytest.fixture(scope="module")
def genes(weights):
    """Some 4,000 genes among those that bulk expresses most."""
    return np.sort(np.argsort(weights.tensors["log_mean"])[-4_000:])


def cells_of(weights, genes, log_ratios, depth):
    scores = weights.tensors["log_mean"][genes] + log_ratios
    rates = depth * np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    counts = np.random.default_rng(1).poisson(rates)
    names = pd.DataFrame(index=np.array(weights.genes)[genes])
    return anndata.AnnData(sparse.csr_matrix(counts, dtype=np.float32), var=names)


def start(cells, weights):
    """Whether bulk helps, co-expression, and the decoder's gene vectors as a share of bulk's."""
    _, model = pp.impute(
        cells, bulk=weights, max_epochs=0, copy=True, return_model=True, verbose=False
    )
    module = model.module.cpu()
    row = {gene: i for i, gene in enumerate(weights.genes)}
    names = cells.var_names[module.gene_order.numpy()]
    known = np.array([name in row for name in names])
    of_bulk = weights.tensors["decoder.genes.weight"][[row[name] for name in names[known]]]
    of_model = module.dae.decoder.genes.weight.detach().numpy()[known]
    return (
        model.transfer_["helps"],
        module.co_expression,
        (of_model * of_bulk).sum() / (of_bulk**2).sum(),
    )


def test_it_speaks_beside_half_the_dae_where_genes_go_together_as_in_bulk(weights, genes):
    loadings = weights.tensors["co_expression"][genes]
    activity = np.random.default_rng(0).normal(size=(N_CELLS, loadings.shape[1]))
    log_ratios = activity @ loadings.T / 9  # a standard deviation of some 0.9
    helps, co_expression, share = start(cells_of(weights, genes, log_ratios, 5_000), weights)
    assert helps
    assert co_expression.loadings.any()
    assert share == pytest.approx(0.5)


def test_in_shallow_cells_that_are_all_alike_it_is_dropped_with_the_rest_of_bulk(weights, genes):
    cells = cells_of(weights, genes, np.zeros((N_CELLS, 1)), 300)
    result, model = pp.impute(
        cells, bulk=weights, max_epochs=1, copy=True, return_model=True, verbose=False
    )
    assert result.uns["scdtl"]["weights"]["dropped"]
    assert not model.module.co_expression.loadings.any()
    assert not model.module.co_expression.solve.any()


def test_on_a_panel_of_real_cells_the_dae_speaks_alone(weights, pbmc_counts):
    helps, co_expression, share = start(pbmc_counts[:200].copy(), weights)
    assert helps
    assert not co_expression.loadings.any()
    assert share == pytest.approx(1)


def test_cells_that_lack_genes_are_imputed_much_alike(weights, genes):
    loadings = weights.tensors["co_expression"][genes]
    activity = np.random.default_rng(0).normal(size=(N_CELLS, loadings.shape[1]))
    cells = cells_of(weights, genes, activity @ loadings.T / 9, 5_000)
    _, model = pp.impute(
        cells, bulk=weights, max_epochs=0, copy=True, return_model=True, verbose=False
    )
    assert model.module.co_expression.loadings.any()
    fewer = cells[:, 400:].copy()
    whole = model.get_imputed_expression(cells)[list(fewer.var_names)].to_numpy()
    result = model.get_imputed_expression(fewer)
    assert list(result.columns) == list(fewer.var_names)
    assert np.corrcoef(whole.ravel(), result.to_numpy().ravel())[0, 1] > 0.95
