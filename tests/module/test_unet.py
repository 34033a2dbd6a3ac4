"""Tests of the U-Net over genes."""

from __future__ import annotations

import pytest
import torch

from scdtl.module._unet import UNet


@pytest.mark.parametrize("n_genes", [1, 40, 128, 129, 765])
def test_any_number_of_genes_keeps_its_shape(n_genes):
    log_ratios, context = UNet(n_genes)(torch.randn(3, n_genes))
    assert log_ratios.shape == (3, n_genes)
    assert context.shape == (3, UNet(n_genes).n_context)
    assert torch.isfinite(context).all()


def test_untrained_it_leaves_the_mean_profile_as_it_is():
    log_ratios, _ = UNet(100)(torch.randn(3, 100))
    assert (log_ratios == 0).all()


def test_it_learns_from_its_first_step_on():
    unet = UNet(50, patch_size=8)
    unet(torch.randn(4, 50))[0].square().sub(1).sum().backward()
    assert unet.read_out.grad is not None
    unet(torch.randn(4, 50))[0].sum().backward()
    assert unet.read_out.grad.abs().sum() > 0


def test_cells_do_not_see_each_other():
    unet = UNet(50, patch_size=8)
    torch.nn.init.normal_(unet.read_out)
    cells = torch.randn(6, 50)
    together = unet(cells)[0]
    torch.testing.assert_close(unet(cells[2:3])[0], together[2:3])


def test_neighbouring_genes_reach_each_other():
    unet = UNet(64, patch_size=8)
    torch.nn.init.normal_(unet.read_out)
    cells = torch.zeros(1, 64)
    changed = cells.clone()
    changed[0, 3] = 1
    difference = (unet(changed)[0] - unet(cells)[0]).abs()
    assert (difference[0, :8] > 0).all()
