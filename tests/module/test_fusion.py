"""Tests of the attention over the two branches."""

from __future__ import annotations

import pytest
import torch

from scdtl.module._fusion import CrossChannelAttention


@pytest.fixture
def inputs():
    """Fusion of 9 genes in 2 batches; both branches' logits, context and batch of 4 cells."""
    torch.manual_seed(0)
    fusion = CrossChannelAttention(n_genes=9, n_context=5, n_batch=2, rank=3)
    torch.nn.init.normal_(fusion.key.weight)
    torch.nn.init.normal_(fusion.batch.weight)
    return (
        fusion,
        torch.randn(4, 9),
        torch.randn(4, 9),
        torch.randn(4, 5),
        torch.tensor([0, 1, 0, 1]),
    )


def test_it_is_a_softmax_attention_over_two_channels(inputs):
    fusion, dae, unet, context, batch = inputs
    query = torch.tanh(fusion.query(context) + fusion.batch(batch))
    scores = torch.stack([fusion.key(query), torch.zeros(4, 9)])
    expected = (torch.softmax(scores, 0) * torch.stack([dae, unet])).sum(0)
    torch.testing.assert_close(fusion(dae, unet, context, batch), expected)


def test_branches_that_agree_are_believed(inputs):
    fusion, dae, _, context, batch = inputs
    torch.testing.assert_close(fusion(dae, dae, context, batch), dae)


def test_the_batch_shifts_the_attention(inputs):
    fusion, dae, unet, context, batch = inputs
    assert not torch.equal(
        fusion(dae, unet, context, batch), fusion(dae, unet, context, 1 - batch)
    )
