"""Tests of the module: how the parts make one loss and one rate."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from scdtl._constants import REGISTRY_KEYS
from scdtl.module._adaptation import maximum_mean_discrepancy
from scdtl.module._scdtl import SCDTLModule
from scdtl.noise._posterior import dispersion_moments, posterior_mean, shrunken_dispersion

N_CELLS, N_GENES = 12, 30


@pytest.fixture
def module():
    torch.manual_seed(0)
    module = SCDTLModule(N_GENES, n_batch=2, n_hidden=8, n_latent=4, dropout_rate=0.0)
    torch.nn.init.normal_(module.unet.read_out)
    module.log_mean.copy_(torch.randn(2, N_GENES).log_softmax(1))
    return module


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(1)
    rates = torch.rand(N_CELLS, N_GENES, generator=generator) * 4
    return {
        REGISTRY_KEYS.X_KEY: torch.poisson(rates, generator=generator),
        REGISTRY_KEYS.TARGET_KEY: torch.poisson(rates, generator=generator),
        REGISTRY_KEYS.BATCH_KEY: torch.arange(N_CELLS) % 2,
    }


def loss_of(module, tensors, **kwargs):
    _, generated, losses = module(tensors, loss_kwargs=kwargs)
    return generated, losses.loss


def nll_per_molecule(module, tensors, logits):
    scores = module.log_mean[tensors[REGISTRY_KEYS.BATCH_KEY]] + logits
    target = tensors[REGISTRY_KEYS.TARGET_KEY]
    return cross_entropy(scores, target, reduction="sum") / target.sum()


def test_training_loss_is_that_of_the_prediction_and_of_the_unet(module, tensors):
    # All cells alike: a part of them tells as much.
    tensors = {key: torch.stack([value[1]] * N_CELLS) for key, value in tensors.items()}
    torch.nn.init.normal_(module.unet.read_out)
    generated, loss = loss_of(module, tensors, unet_weight=0.3)
    deviation = module.deviation(tensors[REGISTRY_KEYS.X_KEY], tensors[REGISTRY_KEYS.BATCH_KEY])
    by_unet = module.unet(deviation)[0] + module.co_expression(deviation)
    whole, unet = (
        nll_per_molecule(module, tensors, x) for x in (generated["log_ratios"], by_unet)
    )
    assert unet != whole
    torch.testing.assert_close(loss, whole + 0.3 * unet)


def test_the_loss_of_the_unet_can_be_left_out(module, tensors):
    generated, loss = loss_of(module, tensors, unet_weight=0)
    torch.testing.assert_close(loss, nll_per_molecule(module, tensors, generated["log_ratios"]))


def test_bulk_latents_add_their_discrepancy(module, tensors):
    _, without = loss_of(module, tensors)
    # All latents alike: it does not matter which are drawn.
    module.bulk_latents.copy_(torch.randn(1, module.bulk_latents.shape[1]))
    _, loss = loss_of(module, tensors, mmd_weight=0.5)
    inferred = module.inference(tensors[REGISTRY_KEYS.X_KEY], tensors[REGISTRY_KEYS.BATCH_KEY])
    discrepancy = maximum_mean_discrepancy(inferred["latent"], module.bulk_latents[:N_CELLS])
    torch.testing.assert_close(loss, without + 0.5 * discrepancy)
    assert discrepancy > 0


def test_all_parts_get_gradients(module, tensors):
    module.bulk_latents.normal_()
    torch.nn.init.normal_(module.fusion.key.weight)  # zeros let nothing through at the first step
    loss_of(module, tensors)[1].backward()
    silent = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_validation_loss_without_dispersion_is_that_of_the_prediction(module, tensors):
    module.eval()
    generated, loss = loss_of(module, tensors)
    torch.testing.assert_close(loss, nll_per_molecule(module, tensors, generated["log_ratios"]))


def test_each_fold_of_cells_is_judged_by_the_dispersion_of_the_other(module, tensors):
    counts, target, batch = (
        tensors[key]
        for key in (REGISTRY_KEYS.X_KEY, REGISTRY_KEYS.TARGET_KEY, REGISTRY_KEYS.BATCH_KEY)
    )
    scores = module.scores(torch.randn(N_CELLS, N_GENES), batch)
    module.noise.held_out_loss(scores, counts, target)
    module.noise.renew()
    loss = module.noise.held_out_loss(scores, counts, target)

    p = torch.softmax(scores, 1)
    mu, mu_target = p * counts.sum(1, keepdim=True), p * target.sum(1, keepdim=True)
    rate = torch.empty_like(mu)
    for judged, judge in ((0, 1), (1, 0)):
        own, other = slice(judged, None, 2), slice(judge, None, 2)
        dispersion = shrunken_dispersion(
            *dispersion_moments(counts[other], mu[other], target[other], mu_target[other])
        )
        rate[own] = posterior_mean(mu[own], counts[own], dispersion)
    expected = cross_entropy(rate.log(), target, reduction="sum") / target.sum()
    torch.testing.assert_close(loss, expected)
    everything = dispersion_moments(counts, mu, target, mu_target)
    torch.testing.assert_close(module.noise.dispersion, shrunken_dispersion(*everything))


def test_proportions_sum_to_one_and_follow_the_batch(module):
    logits, batch = torch.zeros(2, N_GENES), torch.tensor([0, 1])
    proportions = module.noise.prior_mean(module.scores(logits, batch), torch.ones(2, 1))
    torch.testing.assert_close(proportions, module.log_mean.exp())
    torch.testing.assert_close(proportions.sum(1), torch.ones(2))


def test_sampling_is_refused(module):
    with pytest.raises(TypeError, match="get_imputed_expression"):
        module.sample()
