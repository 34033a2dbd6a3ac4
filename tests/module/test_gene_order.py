"""Tests of the order of genes along the U-Net."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scdtl.module._gene_order import gene_vectors, order_by_similarity


@pytest.mark.parametrize("n_genes", [1, 2, 40, 64, 333])
def test_order_is_a_permutation(n_genes):
    vectors = np.random.default_rng(0).normal(size=(n_genes, 4))
    assert np.array_equal(np.sort(order_by_similarity(vectors)), np.arange(n_genes))


def n_changes(modules):
    return int((np.diff(modules) != 0).sum())


def test_genes_of_one_module_come_together():
    rng = np.random.default_rng(0)
    modules = rng.permutation(np.repeat(np.arange(4), 64))
    vectors = np.eye(4)[modules] + rng.normal(scale=0.1, size=(256, 4))
    assert n_changes(modules[order_by_similarity(vectors)]) <= 8
    assert n_changes(modules) > 100


def test_order_of_counts_follows_co_expression():
    rng = np.random.default_rng(0)
    modules = rng.permutation(np.repeat(np.arange(3), 48))
    active = rng.lognormal(0, 1, size=(200, 3))
    counts = sparse.csr_matrix(rng.poisson(2 * active[:, modules]).astype(np.float32))
    vectors = gene_vectors(counts)
    assert vectors.shape == (144, 20)
    assert n_changes(modules[order_by_similarity(vectors)]) < n_changes(modules) / 2


def test_counts_that_are_all_zero_are_allowed():
    counts = sparse.csr_matrix((30, 100), dtype=np.float32)
    assert np.array_equal(np.sort(order_by_similarity(gene_vectors(counts))), np.arange(100))


def test_a_single_cell_or_gene_is_allowed():
    counts = sparse.csr_matrix(np.ones((3, 100), dtype=np.float32))
    assert gene_vectors(counts[:1]).shape[0] == 100
    assert gene_vectors(counts[:, :1]).shape[0] == 1
