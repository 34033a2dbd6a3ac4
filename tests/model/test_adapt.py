"""Tests of adaptation: what bulk says of a gene follows the cells where they say otherwise."""

from __future__ import annotations

import copy
import dataclasses

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from scipy import sparse

from scdtl import pp
from scdtl.metrics import poisson_score
from scdtl.pretrained import load_weights

N_CELLS, DEPTH = 120, 5_000


@pytest.fixture(scope="module")
def weights():
    return load_weights("human")


@pytest.fixture(scope="module")
def genes(weights):
    """Some 2,000 genes among those that bulk expresses most."""
    return np.sort(np.argsort(weights.tensors["log_mean"])[-2_000:])


@pytest.fixture(scope="module")
def log_ratios(weights, genes):
    """Cells in which genes go together as in bulk."""
    loadings = weights.tensors["co_expression"][genes]
    activity = np.random.default_rng(0).normal(size=(N_CELLS, loadings.shape[1]))
    return activity @ loadings.T / 9


def cells_of(weights, genes, log_ratios):
    """Counts with these log-ratios, and a second measurement of the same cells."""
    scores = weights.tensors["log_mean"][genes] + log_ratios
    rates = DEPTH * np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    random = np.random.default_rng(1)
    names = pd.DataFrame(index=np.array(weights.genes)[genes])
    counts, again = (sparse.csr_matrix(random.poisson(rates), dtype=np.float32) for _ in range(2))
    return anndata.AnnData(counts, var=names), again


def imputed(cells, weights, **kwargs):
    return pp.impute(
        cells, bulk=weights, scale="counts", copy=True, return_model=True, verbose=False, **kwargs
    )


def correction_of(model):
    """What a model takes from the components of cells besides what bulk alone does."""
    by_bulk = copy.deepcopy(model.module.co_expression)
    by_bulk.forget_cells()
    return (model.module.co_expression.rows - by_bulk.rows).cpu()


@pytest.fixture(scope="module")
def turned(genes):
    """A tenth of the genes."""
    return np.random.default_rng(2).random(len(genes)) < 0.1


@pytest.fixture(scope="module")
def contrary(weights, genes, log_ratios, turned):
    """Cells in which a tenth of the genes go down where in bulk they go up."""
    return cells_of(weights, genes, np.where(turned, -log_ratios, log_ratios))


@pytest.fixture
def untrained(contrary, weights):
    return imputed(contrary[0], weights, max_epochs=0)[1]


@pytest.mark.parametrize("options", [{"max_epochs": 0}, {"max_epochs": 2}], ids=str)
def test_genes_that_go_against_bulk_are_turned_round(
    weights, contrary, turned, options, monkeypatch
):
    cells, again = contrary
    result, model = imputed(cells, weights, **options)
    along = (correction_of(model) * model.module.co_expression.loadings.cpu()).sum(1).numpy()
    assert (along[turned[model.module.gene_order.cpu().numpy()]] < 0).mean() > 0.9
    monkeypatch.setattr("scdtl.model._scdtl.adapt", lambda *_: None)
    as_bulk, _ = imputed(cells, weights, **options)
    scores = [poisson_score(again, x.layers["scdtl"], cells.X) for x in (result, as_bulk)]
    assert scores[0] > scores[1] + 0.001


def test_where_held_out_molecules_do_not_bear_it_out_bulk_stays_as_it_is(weights, genes):
    cells, _ = cells_of(weights, genes, np.zeros((N_CELLS, 1)))
    _, model = imputed(cells, weights, max_epochs=0)
    assert not correction_of(model).any()


def test_the_own_count_does_not_matter_to_a_corrected_gene(untrained):
    assert correction_of(untrained).any()
    co_expression = copy.deepcopy(untrained.module.co_expression).cpu()
    deviation = torch.randn(
        5, len(co_expression.leverage), generator=torch.Generator().manual_seed(0)
    )
    predicted = co_expression(deviation)[:, 11]
    deviation[:, 11] += 5
    torch.testing.assert_close(co_expression(deviation)[:, 11], predicted, rtol=1e-3, atol=1e-3)


class CorrectionInTraining(Callback):
    """Notes whether there was a correction when training began."""

    def on_train_start(self, trainer, pl_module):
        self.there_was = bool(correction_of(pl_module).any())


def test_training_goes_on_from_bulk_not_from_a_correction(untrained):
    seen = CorrectionInTraining()
    untrained.train(max_epochs=1, enable_progress_bar=False, callbacks=[seen])
    assert not seen.there_was
    assert correction_of(untrained).any()


def test_a_saved_model_keeps_its_correction(untrained, tmp_path):
    untrained.save(tmp_path / "model")
    loaded = type(untrained).load(tmp_path / "model", adata=untrained.adata)
    correction = correction_of(untrained)
    assert correction.any()
    torch.testing.assert_close(correction_of(loaded), correction)


@pytest.mark.parametrize("names", ["known to bulk", "unknown"])
def test_genes_without_counts_change_nothing(contrary, weights, names):
    cells, _ = contrary
    known = np.setdiff1d(weights.genes, cells.var_names)[:500]
    more = known if names == "known to bulk" else [f"GENE{i}" for i in range(500)]
    counts = cells.X.copy()
    counts.resize((cells.n_obs, cells.n_vars + len(more)))
    larger = anndata.AnnData(counts, var=pd.DataFrame(index=[*cells.var_names, *more]))
    expected, result = (
        imputed(adata, weights, max_epochs=0)[0].layers["scdtl"] for adata in (cells, larger)
    )
    np.testing.assert_allclose(result[:, : cells.n_vars], expected, rtol=1e-4, atol=1e-4)


def test_training_that_diverged_ends_without_a_correction(weights, genes):
    few = weights.tensors["co_expression"][:, :16]
    log_ratios = np.random.default_rng(0).normal(size=(N_CELLS, 16)) @ few[genes].T
    cells, _ = cells_of(weights, genes, log_ratios / log_ratios.std())
    bulk = dataclasses.replace(weights, tensors=weights.tensors | {"co_expression": few})
    options = {"max_epochs": 6, "train_kwargs": {"plan_kwargs": {"lr": 1e30}}}
    _, model = imputed(cells, bulk, **options)
    assert model.module.co_expression.solve.any()
    assert not correction_of(model).any()
