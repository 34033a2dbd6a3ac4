"""Tests of the multinomial loss against torch's automatic gradient."""

from __future__ import annotations

import pytest
import torch

from scdtl.noise._multinomial import LOG_ZERO, multinomial_nll


@pytest.fixture
def tensors():
    """Logits, log mean profile and molecules, in float64."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    log_mean = torch.randn(7, generator=generator, dtype=torch.float64).log_softmax(0)
    target = torch.poisson(torch.full((5, 7), 2.0, dtype=torch.float64), generator=generator)
    return logits, log_mean, target


def plain_nll(logits, log_mean, target):
    return -(target * torch.log_softmax(logits + log_mean, dim=1)).sum(1)


def test_value_and_gradient_are_those_of_the_plain_formula(tensors):
    weights = torch.arange(1.0, 6, dtype=torch.float64)
    gradients = []
    for function in (multinomial_nll, plain_nll):
        loss = function(*tensors)
        gradients.append(torch.autograd.grad(loss @ weights, tensors[0])[0])
    torch.testing.assert_close(multinomial_nll(*tensors), plain_nll(*tensors))
    torch.testing.assert_close(*gradients)


def test_gradient_passes_gradcheck(tensors):
    logits, log_mean, target = tensors
    assert torch.autograd.gradcheck(lambda x: multinomial_nll(x, log_mean, target), [logits])


def test_a_profile_per_cell_is_allowed(tensors):
    logits, log_mean, target = tensors
    torch.testing.assert_close(
        multinomial_nll(logits, log_mean.expand(5, 7).clone(), target),
        multinomial_nll(logits, log_mean, target),
    )


def test_an_absent_gene_neither_costs_nor_learns(tensors):
    logits, log_mean, target = tensors
    log_mean, target = log_mean.clone(), target.clone()
    log_mean[3], target[:, 3] = LOG_ZERO, 0
    loss = multinomial_nll(logits, log_mean, target)
    rest = [0, 1, 2, 4, 5, 6]
    torch.testing.assert_close(loss, plain_nll(logits[:, rest], log_mean[rest], target[:, rest]))
    gradient = torch.autograd.grad(loss.sum(), logits)[0]
    assert (gradient[:, 3] == 0).all()
    assert torch.isfinite(gradient).all()


def test_the_callers_tensors_are_left_alone(tensors):
    before = [tensor.detach().clone() for tensor in tensors]
    multinomial_nll(*tensors).sum().backward()
    for now, then in zip(tensors, before, strict=True):
        assert torch.equal(now.detach(), then)
