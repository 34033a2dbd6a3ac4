"""Several networks in one model: the prediction is their mean."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch

from scdtl import SCDTL
from scdtl._random import local_seed
from scdtl.datasets import toy

SEED = 3


def trained(n_models, bulk=None, **train_kwargs):
    adata = toy(n_batches=2)
    SCDTL.setup_anndata(adata, batch_key="batch")
    with local_seed(SEED):
        build = SCDTL if bulk is None else partial(SCDTL.from_bulk_model, bulk)
        model = build(adata, n_models=n_models)
        model.train(enable_progress_bar=False, **train_kwargs)
    return model


@pytest.fixture(scope="module")
def two():
    return trained(2)


def _log_ratios(model):
    module = copy.deepcopy(model.module).cpu()
    counts = torch.from_numpy(model.adata.X.toarray())[:, module.gene_order]
    batch = torch.from_numpy((model.adata.obs["batch"] == "batch1").to_numpy().astype(int))
    with torch.inference_mode():
        of_one = module.generative(batch_index=batch, **module.inference(counts, batch))
        return of_one["log_ratios"], module.log_ratios(counts, batch, batch)


def test_the_prediction_is_the_mean_of_the_networks(two):
    last, mean = _log_ratios(two)
    two.module.exchange(two.module.others[0])
    first, same = _log_ratios(two)
    two.module.exchange(two.module.others[0])
    assert (first - last).abs().max() > 1e-3
    torch.testing.assert_close(mean, (first + last) / 2)
    torch.testing.assert_close(same, mean)


def test_the_first_network_is_that_of_a_single_one(two):
    one, _ = _log_ratios(trained(1))
    two.module.exchange(two.module.others[0])
    first, _ = _log_ratios(two)
    two.module.exchange(two.module.others[0])
    torch.testing.assert_close(first, one)


def test_without_training_all_networks_are_the_same(toy_weights_file):
    one, three = (
        trained(n, toy_weights_file, max_epochs=0).get_imputed_expression(return_numpy=True)
        for n in (1, 3)
    )
    np.testing.assert_allclose(three, one, rtol=1e-4)


def test_all_networks_are_saved(two, tmp_path):
    two.save(str(tmp_path / "model"))
    loaded = SCDTL.load(str(tmp_path / "model"), two.adata)
    np.testing.assert_array_equal(
        loaded.get_imputed_expression(return_numpy=True),
        two.get_imputed_expression(return_numpy=True),
    )


def test_training_goes_on_for_all():
    model = trained(2, max_epochs=1)
    before = {name: value.clone() for name, value in model.module.named_parameters()}
    model.train(max_epochs=1, enable_progress_bar=False)
    for name, value in model.module.named_parameters():
        if name.endswith("genes.weight"):
            assert not value.equal(before[name])
