"""Tests of the orders of genes: by keys, and along the network."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scdtl.data._gene_order import gene_keys, gene_vectors, order_by_similarity


def test_keys_belong_to_names():
    names = ["CD4", "cd4", "", "é", "\udc80", "CD4\x00"]
    keys = gene_keys(names)
    assert keys.dtype == np.uint64
    assert len(np.unique(keys)) == len(names)
    assert np.array_equal(gene_keys(names[::-1]), keys[::-1])


@pytest.mark.parametrize(
    "write",
    ["GRCh38_{}", "hg19-{}", "gene:{}", ' "{}"', "{}__chr1"],
)
def test_what_surrounds_a_name_is_not_part_of_its_key(write):
    # The second CD4 is that of mouse, and is still another gene.
    names = ["CD4", "HLA-A", "AC004556.1", "mm10_CD4"]
    written = [*(write.format(name) for name in names[:3]), names[3]]
    assert np.array_equal(gene_keys(written), gene_keys(names))
    ids = ["ENSG00000167286", "ENSG00000010610"]
    assert np.array_equal(gene_keys([f"{name}.7" for name in ids]), gene_keys(ids))


def test_genes_of_one_bare_name_are_told_apart_wherever_they_stand():
    names = ["hg19_X", "mm10_X", "CD4", "ENSG00000002586.20_PAR_Y", "ENSG00000002586.20"]
    keys = gene_keys(names)
    assert len(np.unique(keys)) == len(names)
    assert np.array_equal(gene_keys(names[::-1]), keys[::-1])


def test_a_gene_of_bulk_has_the_key_of_its_name_there():
    keys = gene_keys(["ENSMUSG00000023274", "CD4", "novel"], ["CD4", None, None])
    assert keys[0] == gene_keys(["CD4"])[0]
    assert keys[2] == gene_keys(["novel"])[0]
    assert len(np.unique(keys)) == 3  # the other CD4 was not matched


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
