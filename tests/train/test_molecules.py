"""Tests of thinning and of the split of molecules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from scdtl._constants import REGISTRY_KEYS
from scdtl.train import _molecules
from scdtl.train._molecules import MoleculeSplitter, thin


@given(
    dense=arrays(np.int16, (5, 4), elements=st.integers(0, 300)),
    fraction=st.floats(0, 1),
    per_cell=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=50)
def test_parts_are_counts_that_sum_to_the_counts(dense, fraction, per_cell, seed):
    counts = sparse.csr_matrix(dense, dtype=np.float32)
    fractions = np.full(5, fraction) if per_cell else fraction
    kept, rest = (part.toarray() for part in thin(counts, fractions, np.random.default_rng(seed)))
    assert np.array_equal(kept + rest, dense)
    assert np.array_equal(kept, np.rint(kept))
    assert kept.min() >= 0
    assert rest.min() >= 0
    assert np.array_equal(counts.toarray(), dense)


def test_fraction_is_that_asked_for_in_each_cell():
    counts = sparse.csr_matrix(np.full((3, 500), 20, dtype=np.float32))
    kept, _ = thin(counts, np.array([0.1, 0.5, 0.9]), np.random.default_rng(0))
    found = np.asarray(kept.mean(1)).ravel() / 20
    np.testing.assert_allclose(found, [0.1, 0.5, 0.9], atol=0.02)


@pytest.fixture
def counts(adata):
    return sparse.csr_matrix(adata.X)


@pytest.fixture
def molecules(counts):
    return MoleculeSplitter(counts, np.arange(60) % 2, batch_size=16, seed=1)


def sorted_rows(matrix):
    return matrix[np.lexsort(matrix.T)]


def test_kept_and_held_out_molecules_are_all_molecules(molecules, counts):
    assert abs(molecules.kept + molecules.held_out - counts).max() == 0
    assert molecules.held_out.sum() / counts.sum() == pytest.approx(0.1, abs=0.01)


def test_training_never_sees_a_held_out_molecule(molecules):
    for _ in range(3):
        batches = list(molecules.train_dataloader())
        assert [len(batch[REGISTRY_KEYS.X_KEY]) for batch in batches] == [16, 16, 16, 12]
        seen = [b[REGISTRY_KEYS.X_KEY] + b[REGISTRY_KEYS.TARGET_KEY] for b in batches]
        seen = np.concatenate([rows.numpy() for rows in seen])
        assert np.array_equal(sorted_rows(seen), sorted_rows(molecules.kept.toarray()))


def test_each_pass_is_thinned_anew(molecules):
    loader = molecules.train_dataloader()
    first, second = (
        np.concatenate([batch[REGISTRY_KEYS.X_KEY].numpy() for batch in loader]) for _ in range(2)
    )
    assert not np.array_equal(sorted_rows(first), sorted_rows(second))
    share = first.sum() / molecules.kept.sum()
    assert 0.6 < share < 0.8


@pytest.mark.parametrize("loader", ["val_dataloader", "calibration_dataloader"])
def test_validation_predicts_the_held_out_molecules_of_the_same_cells(molecules, loader):
    batches = list(getattr(molecules, loader)())
    for key, expected in (
        (REGISTRY_KEYS.X_KEY, molecules.kept.toarray()),
        (REGISTRY_KEYS.TARGET_KEY, molecules.held_out.toarray()),
        (REGISTRY_KEYS.BATCH_KEY, molecules.batch_index),
    ):
        found = np.concatenate([batch[key].numpy() for batch in batches])
        assert np.array_equal(found, expected)


def test_same_seed_same_split(counts):
    first, second, other = (
        MoleculeSplitter(counts, np.zeros(60, dtype=int), seed=seed).held_out.toarray()
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_many_cells_are_drawn_at_random(counts, monkeypatch):
    for name, n_cells in (("CALIBRATION", 20), ("VALIDATION", 10)):
        monkeypatch.setattr(_molecules, f"MAX_{name}_CELLS", n_cells)
    batch_index = np.arange(60)  # tells which cell it is
    molecules = MoleculeSplitter(counts, batch_index, batch_size=16, max_cells=40)
    assert molecules.n_train == len(np.unique(molecules.train_idx)) == 40
    assert molecules.n_val == 10
    assert set(molecules.val_idx) <= set(molecules.train_idx)
    for loader, n_cells in (("train", 40), ("calibration", 20), ("val", 10)):
        n_seen = 0
        for batch in getattr(molecules, f"{loader}_dataloader")():
            cells = batch[REGISTRY_KEYS.BATCH_KEY].numpy()
            seen = batch[REGISTRY_KEYS.X_KEY] + batch[REGISTRY_KEYS.TARGET_KEY]
            assert set(cells) <= set(molecules.train_idx)
            assert (seen.numpy() <= counts[cells].toarray()).all()
            n_seen += len(cells)
        assert n_seen == n_cells
    kept, held_out = molecules.held_out_parts()
    assert np.array_equal((kept + held_out).toarray(), counts[molecules.val_idx].toarray())
