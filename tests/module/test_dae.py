"""Tests of the DAE's input against scanpy's log-normalisation."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
import scanpy as sc
import torch
from scipy import stats

from scdtl.module._dae import DAE, log1p_deviation
from scdtl.noise._multinomial import LOG_ZERO


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(1.5, size=(20, 12)).astype(np.float32)


def test_deviation_is_the_log_normalised_count_less_that_of_the_mean(counts):
    mean = counts.sum(0) / counts.sum()
    cells = anndata.AnnData(counts.copy())
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    found = log1p_deviation(torch.from_numpy(counts), torch.from_numpy(np.log(mean)))
    np.testing.assert_allclose(found.numpy(), cells.X - np.log1p(1e4 * mean), atol=2e-5)


def test_an_absent_gene_is_zero(counts):
    counts[:, 4] = 0
    log_mean = np.full(12, np.log(1 / 11), dtype=np.float32)
    log_mean[4] = LOG_ZERO
    found = log1p_deviation(torch.from_numpy(counts), torch.from_numpy(log_mean))
    assert (found[:, 4] == 0).all()


def test_a_cell_without_counts_is_finite(counts):
    counts[0] = 0
    found = log1p_deviation(torch.from_numpy(counts), torch.full((12,), np.log(1 / 12)))
    assert torch.isfinite(found).all()


def test_a_batch_changes_the_decoder_once_learned():
    dae = DAE(12, n_hidden=8, n_latent=3, dropout_rate=0.0, n_batch=2)
    latent = torch.randn(5, 3)
    first, second = torch.zeros(5, dtype=torch.long), torch.ones(5, dtype=torch.long)
    assert torch.equal(dae.decoder(latent, first), dae.decoder(latent, second))
    torch.nn.init.normal_(dae.decoder.batch.weight)
    assert not torch.equal(dae.decoder(latent, first), dae.decoder(latent, second))


def linear_layers(dae):
    return {
        name: layer for name, layer in dae.named_modules() if isinstance(layer, torch.nn.Linear)
    }


def test_first_weights_are_spread_as_those_of_pytorch():
    dae = DAE(300, n_hidden=64, n_latent=32)
    torch.nn.init.ones_(dae.encoder.hidden[0].bias)
    before = linear_layers(DAE(200, n_hidden=64, n_latent=32))
    dae.draw(200)
    for name, layer in linear_layers(dae).items():
        for kind in ("weight", "bias"):
            found, expected = (getattr(x, kind).detach().ravel() for x in (layer, before[name]))
            assert stats.kstest(found, expected).pvalue > 0.001, (name, kind)
            assert found.abs().max() == pytest.approx(expected.abs().max(), rel=0.25)
    assert not dae.encoder.hidden[0].bias.any()
    assert not torch.equal(dae.encoder.latent.weight, dae.decoder.latent.weight.T)


def test_genes_without_counts_change_no_other_weights_and_no_later_numbers():
    drawn = []
    for n_genes in (50, 80):
        dae = DAE(n_genes, n_hidden=8, n_latent=3)
        torch.manual_seed(0)
        dae.draw(50)
        drawn.append((dae.state_dict(), torch.rand(1)))
    (few, next_number), (many, same_number) = drawn
    assert next_number == same_number
    for name, value in few.items():
        other = many[name]
        if name == "encoder.genes.weight":
            other = other[:, :50]
        elif name.startswith("decoder.genes"):
            other = other[:50]
        assert torch.equal(value, other), name
