"""Tests of the DAE's input against scanpy's log-normalisation."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
import scanpy as sc
import torch

from scdtl.module._dae import DAE, log1p_deviation
from scdtl.module._likelihood import LOG_ZERO


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
