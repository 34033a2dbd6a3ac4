"""Tests of the order of cells that follows the cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse, stats

from scdtl.data._cell_order import _mixed, sampled_cells, shuffled_cells
from scdtl.data._gene_order import gene_keys

NAMES = [f"gene{i}" for i in range(30)]


@pytest.fixture(scope="module")
def counts():
    """Cells without two of a kind, in two batches; cell 7 is empty."""
    dense = np.random.default_rng(0).poisson(2, (400, 30))
    dense[7] = 0
    assert len(np.unique(dense, axis=0)) == 400
    return sparse.csr_matrix(dense, dtype=np.float32)


def order(counts, names=NAMES, seed=0, batch_index=None):
    if batch_index is None:
        batch_index = np.zeros(counts.shape[0], dtype=int)
    return shuffled_cells(counts, batch_index, gene_keys(names), seed)


def test_all_cells_but_empty_ones_come_once(counts):
    assert np.array_equal(np.sort(order(counts)), np.delete(np.arange(400), 7))


def test_only_empty_cells_all_come():
    assert np.array_equal(np.sort(order(sparse.csr_matrix((3, 30)))), [0, 1, 2])


@given(data=st.data(), n_empty=st.integers(0, 3), seed=st.integers(0, 2**31 - 1))
@settings(deadline=None, max_examples=20)
def test_cells_come_in_the_same_order_wherever_they_and_their_genes_stand(
    counts, data, n_empty, seed
):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    batch = np.arange(400) % 2
    cells, genes = rng.permutation(400), rng.permutation(30 + n_empty)
    more = counts.copy()
    more.resize((400, 30 + n_empty))
    names = np.array([*NAMES, *(f"empty{i}" for i in range(n_empty))])
    moved = order(more[cells][:, genes], names[genes], seed, batch[cells])
    assert np.array_equal(cells[moved], order(counts, NAMES, seed, batch))


def test_the_order_is_random(counts):
    first, second = order(counts, seed=0), order(counts, seed=1)
    in_place = np.sort(first)
    for one, other in ((first, in_place), (second, in_place), (first, second)):
        assert abs(stats.spearmanr(np.argsort(one), np.argsort(other)).statistic) < 0.15
    # What a cell counts does not tell when it comes.
    depth = np.asarray(counts.sum(1)).ravel()
    assert abs(stats.spearmanr(depth[first], np.arange(399)).statistic) < 0.15
    assert abs(stats.spearmanr(counts[first][:, 0].toarray().ravel(), range(399)).statistic) < 0.15


def test_cells_of_a_line_are_no_neighbours():
    """Hashes of n times a cell are n times its hash before they are mixed."""
    one = sparse.csr_matrix(np.arange(1, 400.0)[:, None])
    first = order(one, ["CD4"])
    assert abs(stats.spearmanr(first, np.arange(399)).statistic) < 0.15
    assert (np.abs(np.diff(first)) == 1).mean() < 0.05


def test_batches_and_names_count(counts):
    whole = order(counts)
    assert not np.array_equal(order(counts, batch_index=np.arange(400) % 2), whole)
    assert not np.array_equal(order(counts, NAMES[::-1]), whole)


@given(dense=arrays(np.int8, (9, 4), elements=st.integers(0, 1)))
@settings(deadline=None, max_examples=20)
def test_alike_cells_come_in_the_order_of_their_positions(dense):
    found = order(sparse.csr_matrix(dense, dtype=np.float32), NAMES[:4])
    for profile in np.unique(dense, axis=0):
        alike = [cell for cell in found if np.array_equal(dense[cell], profile)]
        assert alike == sorted(alike)


def test_numbers_are_mixed_as_in_splitmix64():
    """The first numbers of the published generator with seed 0."""
    states = np.arange(3, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert _mixed(states).tolist() == published


def sampled(counts, batch_index, n_cells, seed=0):
    return sampled_cells(counts, batch_index, gene_keys(NAMES), seed, n_cells, 3)


@pytest.mark.parametrize("n_cells", [4, 50, 398, 399, 1000])
def test_a_sample_has_cells_of_every_batch(counts, n_cells):
    batch = np.repeat([0, 1, 2], [3, 390, 7])
    cells = sampled(counts, batch, n_cells)
    assert len(cells) == len(set(cells)) == min(n_cells, 399)  # one has no counts
    assert set(batch[cells]) == {0, 1, 2}
    assert n_cells > 398 or set(cells) != set(sampled(counts, batch, n_cells, seed=1))


def test_a_sample_of_alike_batches_is_the_beginning_of_the_order(counts):
    batch = np.arange(400) % 3
    in_order = shuffled_cells(counts, batch, gene_keys(NAMES), 0)[:370]
    np.testing.assert_array_equal(sampled(counts, batch, 370), in_order)


def test_what_is_sampled_of_all_cells_is_sampled_of_a_part(counts):
    """So that a file can be read piece by piece."""
    batch = np.repeat([0, 1, 2], [3, 390, 7])
    whole = sampled(counts, batch, 50)
    kept = np.empty(0, dtype=int)
    for piece in np.array_split(np.arange(400), 9):
        rows = np.sort(np.concatenate([kept, piece]))
        kept = rows[sampled(counts[rows], batch[rows], 50)]
    np.testing.assert_array_equal(kept, whole)
