"""Tests of the bulk module."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from scdtl._constants import REGISTRY_KEYS
from scdtl.module._bulk import BulkDAEModule


@pytest.fixture
def module():
    torch.manual_seed(0)
    return BulkDAEModule(15, n_hidden=8, n_latent=3, dropout_rate=0.0)


def test_loss_is_that_of_the_profile_around_the_episodes_own_mean(module):
    tensors = {
        REGISTRY_KEYS.X_KEY: torch.poisson(torch.full((6, 15), 3.0)),
        REGISTRY_KEYS.TARGET_KEY: torch.rand(6, 15).softmax(1),
        REGISTRY_KEYS.LOG_MEAN_KEY: torch.rand(15).log_softmax(0),
    }
    _, generated, losses = module(tensors)
    scores = generated["logits"] + tensors[REGISTRY_KEYS.LOG_MEAN_KEY]
    torch.testing.assert_close(
        losses.loss, cross_entropy(scores, tensors[REGISTRY_KEYS.TARGET_KEY])
    )


def test_sampling_is_refused(module):
    with pytest.raises(TypeError, match="deterministic"):
        module.sample()
