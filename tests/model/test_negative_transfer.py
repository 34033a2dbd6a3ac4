"""Tests of what happens where bulk does not fit the cells: it is noticed and dropped."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
import torch

from scdtl import pp
from scdtl.model._transfer import transfer
from scdtl.pretrained import load_weights


@pytest.fixture(scope="module")
def cells(pbmc_counts):
    return pbmc_counts[:200].copy()


@pytest.fixture(scope="module")
def shuffled_weights():
    """Real weights whose genes have changed places: what they know is wrong."""
    weights = load_weights("human")
    genes = [str(gene) for gene in np.random.default_rng(0).permutation(weights.genes)]
    return dataclasses.replace(weights, genes=genes, ensembl_ids=[""] * len(genes))


def test_weights_that_mislead_are_dropped_with_a_message(cells, shuffled_weights, caplog):
    with caplog.at_level(logging.WARNING, logger="scdtl"):
        result, model = pp.impute(
            cells, bulk=shuffled_weights, max_epochs=1, copy=True, return_model=True
        )
    assert "dropped" in caplog.text
    assert result.uns["scdtl"]["weights"]["dropped"]
    assert not model.module.bulk_latents.any()


def test_nothing_of_dropped_weights_is_left(cells, shuffled_weights):
    _, model = pp.impute(
        cells,
        bulk=shuffled_weights,
        max_epochs=1,
        copy=True,
        return_model=True,
        train_kwargs={"plan_kwargs": {"lr": 0.0}},
    )
    matched = {gene: i for i, gene in enumerate(shuffled_weights.genes)}
    names = cells.var_names[model.module.gene_order.cpu().numpy()]
    position = np.array([matched.get(name, -1) for name in names])
    as_trained = {n: p.detach().clone() for n, p in model.module.dae.named_parameters()}
    assert not model.module.co_expression.loadings.any()
    transfer(shuffled_weights, position, model.module)
    for name, value in model.module.dae.named_parameters():
        if name.endswith("genes.weight"):
            assert not torch.equal(as_trained[name], value)


def test_weights_that_fit_stay(cells, caplog):
    with caplog.at_level(logging.WARNING, logger="scdtl"):
        result = pp.impute(cells, max_epochs=1, copy=True)
    assert "dropped" not in caplog.text
    assert not result.uns["scdtl"]["weights"]["dropped"]


def test_misleading_weights_cost_next_to_nothing(cells, shuffled_weights):
    cells = cells[:, ::2]
    explained = [
        pp.impute(cells, bulk=bulk, copy=True).uns["scdtl"]["held_out_deviance_explained"]
        for bulk in (shuffled_weights, None)
    ]
    assert explained[0] > explained[1] - 0.01


def test_untrained_weights_are_never_worse_than_the_mean_profile(cells, shuffled_weights):
    genes = ("decoder.genes.weight", "decoder.genes.bias")
    silent = {key: np.zeros_like(shuffled_weights.tensors[key]) for key in genes}
    mean_profile = dataclasses.replace(shuffled_weights, tensors=shuffled_weights.tensors | silent)
    misled, mean = (
        pp.impute(cells, bulk=bulk, max_epochs=0, copy=True).uns["scdtl"]
        for bulk in (shuffled_weights, mean_profile)
    )
    key = "held_out_deviance_explained"
    assert misled[key] > mean[key] - 0.002
