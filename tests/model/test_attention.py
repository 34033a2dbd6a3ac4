"""Tests of get_attention: what it says is what the network does."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from scdtl import SCDTL
from scdtl.datasets import toy


@pytest.fixture(scope="module")
def by_hand(toy_model):
    """Weight of the DAE in each cell and gene of the data, from the module's parameters."""
    module = copy.deepcopy(toy_model.module).cpu()
    counts = torch.from_numpy(toy_model.adata.X.toarray())[:, module.gene_order]
    batch = torch.from_numpy((toy_model.adata.obs["batch"] == "batch1").to_numpy().astype(int))
    with torch.inference_mode():
        inferred = module.inference(counts, batch)
    context = np.column_stack([inferred["latent"].numpy(), inferred["context"].numpy()])
    state = {name: tensor.numpy() for name, tensor in module.fusion.state_dict().items()}
    query = context @ state["query.weight"].T + state["query.bias"]
    query = np.tanh(query + state["batch.weight"][batch.numpy()])
    weights = 1 / (1 + np.exp(-(query @ state["key.weight"].T + state["key.bias"])))
    in_order = np.empty_like(weights)
    in_order[:, module.gene_order.numpy()] = weights
    return in_order


def test_rows_are_genes_with_weights_that_sum_to_one(toy_model):
    table = toy_model.get_attention()
    assert list(table.index) == list(toy_model.adata.var_names)
    assert list(table.columns) == ["dae", "unet"]
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-6)
    assert ((table >= 0) & (table <= 1)).all(axis=None)


def test_it_is_the_mean_of_the_weights_in_each_cell(toy_model, by_hand):
    assert by_hand.mean(0).std() > 0.01
    np.testing.assert_allclose(toy_model.get_attention()["dae"], by_hand.mean(0), atol=1e-5)


def test_the_weights_are_those_that_the_prediction_uses(toy_model):
    module = copy.deepcopy(toy_model.module).cpu()
    counts = torch.from_numpy(toy_model.adata.X.toarray())[:, module.gene_order]
    batch = torch.from_numpy((toy_model.adata.obs["batch"] == "batch1").to_numpy().astype(int))
    with torch.inference_mode():
        inferred = module.inference(counts, batch)
        branches = module.dae.decoder(inferred["latent"], batch), inferred["unet"]
        fused = module.generative(batch_index=batch, **inferred)["log_ratios"]
    dae, unet, fused = (logits.numpy().astype(float) for logits in (*branches, fused))
    apart = np.abs(dae - unet) > 0.1
    share = np.divide(fused - unet, dae - unet, where=apart, out=np.zeros_like(dae))
    for cell in (0, 7):
        table = toy_model.get_attention(indices=[cell])["dae"].to_numpy()
        found = table[module.gene_order.numpy()]
        assert apart[cell].sum() > 5
        np.testing.assert_allclose(found[apart[cell]], share[cell][apart[cell]], atol=1e-4)


def test_genes_come_in_the_order_asked_for(toy_model):
    genes = ["GENE30", "GENE4", "GENE5"]
    table = toy_model.get_attention(gene_list=genes)
    assert list(table.index) == genes
    assert table.equals(toy_model.get_attention().loc[genes])


@pytest.mark.parametrize("as_mask", [False, True], ids=["numbers", "mask"])
def test_the_mean_is_over_the_cells_asked_for(toy_model, by_hand, as_mask):
    cells = [2, 9, 16, 51]
    indices = np.isin(np.arange(60), cells) if as_mask else cells
    table = toy_model.get_attention(indices=indices)
    np.testing.assert_allclose(table["dae"], by_hand[cells].mean(0), atol=1e-5)
    assert not np.allclose(table["dae"], by_hand.mean(0), atol=1e-5)


def test_blocks_do_not_change_the_numbers(toy_model):
    np.testing.assert_allclose(
        toy_model.get_attention(batch_size=7), toy_model.get_attention(), atol=1e-5
    )


def test_other_cells_of_the_same_genes_may_be_asked(toy_model):
    others = toy(n_obs=25, n_batches=2, seed=1)
    table = toy_model.get_attention(others)
    assert table.shape == (40, 2)
    assert not table.equals(toy_model.get_attention())


def test_training_moves_it_away_from_where_it_starts(toy_model, adata):
    SCDTL.setup_anndata(adata)
    untrained = SCDTL(adata)
    with pytest.raises(RuntimeError, match="train"):
        untrained.get_attention()
    start = float(torch.sigmoid(untrained.module.fusion.key.bias.detach()).mean())
    assert (np.abs(toy_model.get_attention()["dae"] - start) > 0.01).mean() > 0.5


def test_unknown_genes_are_refused(toy_model):
    with pytest.raises(ValueError, match="TP53"):
        toy_model.get_attention(gene_list=["GENE1", "TP53"])
