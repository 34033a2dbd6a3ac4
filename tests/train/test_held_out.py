"""Tests of thinning and of the split of molecules."""

from __future__ import annotations

import numpy as np
import pytest
import scvi
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize, sparse, stats

from scdtl._constants import REGISTRY_KEYS
from scdtl.data._thin import thin
from scdtl.noise import UMI
from scdtl.train import _held_out
from scdtl.train._held_out import HeldOutSplitter


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


@pytest.mark.parametrize("n", [1, 2, 7])
def test_each_count_is_drawn_from_its_own_binomial(n):
    counts = sparse.csr_matrix(np.full((4, 5_000), n, dtype=np.float32))
    fractions = np.array([0.0, 0.3, 0.8, 1.0])
    kept, _ = thin(counts, fractions, np.random.default_rng(0))
    never, *drawn, always = kept.toarray()
    assert (never == 0).all()
    assert (always == n).all()
    for row, fraction in zip(drawn, fractions[1:3], strict=True):
        found = np.bincount(row.astype(int), minlength=n + 1)
        expected = 5_000 * stats.binom(n, fraction).pmf(np.arange(n + 1))
        assert stats.chisquare(found, expected).pvalue > 0.001
        assert abs(np.corrcoef(row[1:], row[:-1])[0, 1]) < 0.05


def test_parts_share_the_structure_of_the_counts():
    stored_zero = np.array([0, 2, 5], dtype=np.float32), [0, 2, 1], [0, 2, 3]
    counts = sparse.csr_matrix(stored_zero, shape=(2, 3))
    for part in thin(counts, 0.5, np.random.default_rng(0)):
        assert np.shares_memory(part.indices, counts.indices)
        assert np.shares_memory(part.indptr, counts.indptr)
        assert part.dtype == np.float32
        assert part.data[0] == 0


@pytest.fixture
def counts(adata):
    return sparse.csr_matrix(adata.X)


@pytest.fixture
def molecules(counts):
    return HeldOutSplitter(UMI, counts, np.arange(60) % 2, batch_size=16, seed=1)


def sorted_rows(matrix):
    return matrix[np.lexsort(matrix.T)]


def shown_and_asked(batch):
    return batch[REGISTRY_KEYS.X_KEY].numpy(), batch[REGISTRY_KEYS.TARGET_KEY].numpy()


def test_kept_and_held_out_molecules_are_all_molecules(molecules, counts):
    assert abs(molecules.kept + molecules.held_out - counts).max() == 0
    assert molecules.held_out.sum() / counts.sum() == pytest.approx(0.1, abs=0.01)


def test_training_never_sees_a_held_out_molecule(molecules):
    for _ in range(3):
        batches = list(molecules.train_dataloader())
        assert [len(batch[REGISTRY_KEYS.X_KEY]) for batch in batches] == [16, 16, 16, 12]
        seen = [b[REGISTRY_KEYS.X_KEY] + b[REGISTRY_KEYS.TARGET_KEY] for b in batches]
        seen = np.concatenate([rows.numpy() for rows in seen])  # NaN where an entry was hidden
        kept = molecules.kept.toarray()
        differs = ((seen[:, None] != kept) & ~np.isnan(seen)[:, None]).any(2)
        rows, same = optimize.linear_sum_assignment(differs)
        assert not differs[rows, same].any()
        asked = np.concatenate([b[REGISTRY_KEYS.TARGET_KEY].numpy() for b in batches])
        assert (asked <= kept[same]).all()


def test_entries_are_hidden_and_asked_for_all_the_same():
    counts = sparse.csr_matrix(np.full((200, 300), 40, dtype=np.float32))
    molecules = HeldOutSplitter(UMI, counts, np.zeros(200, dtype=int), batch_size=200)
    (batch,) = molecules.train_dataloader()
    hidden = batch[REGISTRY_KEYS.X_KEY].isnan()
    asked = batch[REGISTRY_KEYS.TARGET_KEY]
    share = hidden.double().mean(1).numpy()
    assert stats.kstest(share, stats.uniform(0, 0.4).cdf).pvalue > 0.01
    assert float(asked[hidden].mean()) == pytest.approx(float(asked[~hidden].mean()), rel=0.05)


def test_each_pass_is_thinned_anew(molecules):
    loader = molecules.train_dataloader()
    first, second = (
        [np.concatenate(part) for part in zip(*map(shown_and_asked, loader), strict=True)]
        for _ in range(2)
    )
    assert not np.array_equal(sorted_rows(first[1]), sorted_rows(second[1]))
    shown, asked = first
    assert 0.6 < np.nansum(shown) / np.nansum(shown + asked) < 0.8


def test_alike_cells_are_thinned_anew_in_each_minibatch_and_pass():
    counts = sparse.csr_matrix(np.tile(np.arange(50, dtype=np.float32), (4, 1)))
    loader = HeldOutSplitter(UMI, counts, np.zeros(4, dtype=int), batch_size=1).train_dataloader()
    seen = [
        tuple(batch[REGISTRY_KEYS.X_KEY].ravel().tolist()) for _ in range(3) for batch in loader
    ]
    assert len(set(seen)) == len(seen) == 12


def test_each_cell_keeps_a_share_of_its_own_between_a_half_and_nine_tenths():
    counts = sparse.csr_matrix(np.full((300, 20), 5_000, dtype=np.float32))
    molecules = HeldOutSplitter(UMI, counts, np.zeros(300, dtype=int), batch_size=300)
    (batch,) = molecules.train_dataloader()
    shown, asked = shown_and_asked(batch)
    shares = np.nansum(shown, axis=1) / np.nansum(shown + asked, axis=1)
    assert stats.kstest(shares, stats.uniform(0.5, 0.4).cdf).pvalue > 0.01


def test_the_seeds_of_the_split_and_of_torch_decide_the_minibatches(counts):
    def passes(seed, torch_seed):
        torch.manual_seed(torch_seed)
        loader = HeldOutSplitter(UMI, counts, np.arange(60), seed=seed).train_dataloader()
        ((batch,), (again,)) = loader, loader
        rows = batch[REGISTRY_KEYS.BATCH_KEY].tolist(), again[REGISTRY_KEYS.BATCH_KEY].tolist()
        return rows, batch[REGISTRY_KEYS.X_KEY].numpy()

    (rows, kept), (same_rows, same), (_, other), (other_rows, _) = (
        passes(*seeds) for seeds in ((1, 0), (1, 0), (2, 0), (1, 1))
    )
    assert rows == same_rows
    np.testing.assert_array_equal(same, kept)
    assert not np.array_equal(kept, other)
    assert rows != other_rows


def of_all(loader, key):
    return np.concatenate([batch[key].numpy() for batch in loader])


@pytest.mark.parametrize("loader", ["val_dataloader", "calibration_dataloader"])
def test_validation_predicts_the_held_out_molecules_of_the_same_cells(molecules, loader):
    loader = getattr(molecules, loader)()
    shown = of_all(loader, REGISTRY_KEYS.X_KEY)
    assert np.array_equal(
        np.where(np.isnan(shown), molecules.kept.toarray(), shown), molecules.kept.toarray()
    )
    assert np.array_equal(of_all(loader, REGISTRY_KEYS.TARGET_KEY), molecules.held_out.toarray())
    assert np.array_equal(of_all(loader, REGISTRY_KEYS.BATCH_KEY), molecules.batch_index)


def test_early_stopping_hides_a_tenth_of_the_entries_and_calibration_none(molecules):
    hidden, again = (
        np.isnan(of_all(molecules.val_dataloader(), REGISTRY_KEYS.X_KEY)) for _ in range(2)
    )
    assert np.array_equal(hidden, again)
    assert hidden.mean() == pytest.approx(0.1, abs=0.02)
    assert not np.isnan(of_all(molecules.calibration_dataloader(), REGISTRY_KEYS.X_KEY)).any()


def test_same_seed_same_split(counts):
    first, second, other = (
        HeldOutSplitter(UMI, counts, np.zeros(60, dtype=int), seed=seed).held_out.toarray()
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_the_first_cells_validate(counts, monkeypatch):
    for name, n_cells in (("CALIBRATION", 20), ("VALIDATION", 10)):
        monkeypatch.setattr(_held_out, f"MAX_{name}_CELLS", n_cells)
    cells = np.random.default_rng(0).permutation(60)[:40]
    # The batch tells which cell it is.
    molecules = HeldOutSplitter(UMI, counts[cells], cells, batch_size=16, positions=cells)
    assert np.array_equal(molecules.train_idx, cells)
    assert np.array_equal(molecules.val_idx, cells[:10])
    assert (molecules.n_train, molecules.n_val) == (40, 10)
    for loader, n_cells in (("train", 40), ("calibration", 20), ("val", 10)):
        drawn = []
        for batch in getattr(molecules, f"{loader}_dataloader")():
            rows = batch[REGISTRY_KEYS.BATCH_KEY].numpy()
            seen = batch[REGISTRY_KEYS.X_KEY] + batch[REGISTRY_KEYS.TARGET_KEY]
            assert not (seen.numpy() > counts[rows].toarray()).any()  # NaN where hidden
            drawn.extend(rows)
        expected = cells[:n_cells]
        assert np.array_equal(
            np.sort(drawn) if loader == "train" else drawn,
            np.sort(expected) if loader == "train" else expected,
        )
    kept, held_out = molecules.held_out_parts()
    assert np.array_equal((kept + held_out).toarray(), counts[molecules.val_idx].toarray())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("loader", ["train_dataloader", "val_dataloader"])
def test_processes_that_load_make_the_same_minibatches(counts, loader, monkeypatch):
    def passes(n_workers):
        monkeypatch.setattr(scvi.settings, "dl_num_workers", n_workers)
        torch.manual_seed(0)
        minibatches = getattr(HeldOutSplitter(UMI, counts, np.arange(60), 16), loader)()
        assert minibatches.num_workers == n_workers
        return [list(minibatches) for _ in range(2)]

    here = passes(0)
    for n_workers in (1, 2):
        for expected, found in zip(sum(here, []), sum(passes(n_workers), []), strict=True):
            assert expected.keys() == found.keys()
            for key in expected:
                np.testing.assert_array_equal(found[key].numpy(), expected[key].numpy())


@pytest.mark.parametrize(("n_cells", "batch_size"), [(1, 3), (7, 3), (14, 16), (5, 1)])
def test_every_cell_is_in_one_minibatch_of_a_pass(n_cells, batch_size):
    counts = sparse.csr_matrix(np.full((n_cells, 3), 4, dtype=np.float32))
    molecules = HeldOutSplitter(UMI, counts, np.arange(n_cells), batch_size)
    sizes = [min(batch_size, n_cells - i) for i in range(0, n_cells, batch_size)]
    trained, validated = (
        [batch[REGISTRY_KEYS.BATCH_KEY].tolist() for batch in loader]
        for loader in (molecules.train_dataloader(), molecules.val_dataloader())
    )
    assert [len(cells) for cells in trained] == sizes
    assert sorted(sum(trained, [])) == list(range(n_cells))
    assert sum(validated, []) == list(range(n_cells))
