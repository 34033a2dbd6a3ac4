"""Tests of the pseudo-cells made of bulk samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import poisson

from scdtl._constants import REGISTRY_KEYS
from scdtl.datasets import toy_bulk
from scdtl.noise._multinomial import LOG_ZERO
from scdtl.train._episodes import Episodes, EpisodeSplitter, _poisson

STUDIES = np.arange(30) % 3


@pytest.fixture
def profiles():
    return toy_bulk().X.toarray()


def draw(profiles, studies=STUDIES, units=None, n_episodes=20, seed=0, **kwargs):
    units = np.zeros(len(studies), dtype=int) if units is None else units
    return list(Episodes(profiles, studies, units, 16, n_episodes, seed, **kwargs))


def test_episodes_are_counts_around_known_proportions(profiles):
    episodes = draw(profiles)
    assert len(episodes) == 20
    for episode in episodes:
        counts, target = episode[REGISTRY_KEYS.X_KEY], episode[REGISTRY_KEYS.TARGET_KEY]
        assert counts.shape == target.shape == (16, 40)
        assert counts.dtype == target.dtype == torch.float32
        assert torch.equal(counts, counts.round())
        torch.testing.assert_close(target.sum(1), torch.ones(16))
        torch.testing.assert_close(episode[REGISTRY_KEYS.LOG_MEAN_KEY].exp(), target.mean(0))


def test_counts_are_poisson_around_the_target(profiles):
    residuals = []
    for episode in draw(profiles, n_episodes=60):
        counts, target = episode[REGISTRY_KEYS.X_KEY], episode[REGISTRY_KEYS.TARGET_KEY]
        expected = target * counts.sum(1, keepdim=True)
        residuals.append((counts - expected).square() / expected.clamp(min=1e-9))
    chi2 = torch.cat(residuals).mean().item()
    assert chi2 == pytest.approx(1 - 1 / 40, abs=0.05)  # depth was taken from the counts


def test_counts_are_as_frequent_as_poissons():
    rates = np.repeat(np.float32([0, 0.01, 0.5, 3, 40]), 100_000)
    counts = _poisson(rates, np.random.default_rng(0))
    for rate in np.unique(rates):
        drawn = counts[rates == rate]
        values = np.arange(80)
        frequency = np.bincount(drawn.astype(int), minlength=80)[:80] / len(drawn)
        np.testing.assert_allclose(frequency, poisson.pmf(values, rate), atol=0.005)
        assert abs(drawn.mean() - rate) <= 4 * np.sqrt(rate / len(drawn))


def test_same_seed_same_episodes(profiles):
    first, second, other = (draw(profiles, n_episodes=3, seed=seed) for seed in (1, 1, 2))
    for one, same, different in zip(first, second, other, strict=True):
        assert all(torch.equal(one[key], same[key]) for key in one)
        assert not torch.equal(one[REGISTRY_KEYS.X_KEY], different[REGISTRY_KEYS.X_KEY])


def test_without_a_seed_every_pass_is_new_and_follows_torch(profiles):
    episodes = Episodes(profiles, STUDIES, np.zeros(30, dtype=int), 16, 1)
    torch.manual_seed(0)
    first, second = (next(iter(episodes))[REGISTRY_KEYS.X_KEY] for _ in range(2))
    torch.manual_seed(0)
    again = next(iter(episodes))[REGISTRY_KEYS.X_KEY]
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_a_gene_that_a_drawn_study_lacks_is_absent(profiles):
    profiles[STUDIES == 0, 5] = np.nan
    profiles[:, 7] = np.nan
    n_absent = 0
    for episode in draw(profiles, n_episodes=40):
        assert all(torch.isfinite(value).all() for value in episode.values())
        log_mean = episode[REGISTRY_KEYS.LOG_MEAN_KEY]
        assert log_mean[7] == LOG_ZERO
        absent = log_mean == LOG_ZERO
        n_absent += int(absent[5])
        assert not episode[REGISTRY_KEYS.X_KEY][:, absent].any()
        assert not episode[REGISTRY_KEYS.TARGET_KEY][:, absent].any()
        torch.testing.assert_close(episode[REGISTRY_KEYS.TARGET_KEY].sum(1), torch.ones(16))
    assert 0 < n_absent < 40


@pytest.mark.parametrize("studies", [STUDIES, np.zeros(30, dtype=int)], ids=["studies", "none"])
def test_only_samples_of_one_unit_are_mixed(studies):
    profiles = np.zeros((30, 40), dtype=np.float32)
    profiles[STUDIES == 0, :20] = 1.0
    profiles[STUDIES != 0, 20:] = 1.0
    for episode in draw(profiles, studies, units=(STUDIES != 0).astype(int)):
        mean = episode[REGISTRY_KEYS.LOG_MEAN_KEY].exp()
        assert (mean[:20].sum() < 1e-3) != (mean[20:].sum() < 1e-3)


def test_samples_of_validation_are_not_in_training(profiles):
    torch.manual_seed(0)
    studies = np.repeat([0, 1], [25, 5])
    splitter = EpisodeSplitter(profiles, studies, np.zeros(30, dtype=int), 16, 4)
    assert not set(splitter.train_idx) & set(splitter.val_idx)
    assert len(splitter.train_idx) + len(splitter.val_idx) == 30
    assert set(np.flatnonzero(studies == 1)) <= set(splitter.train_idx)
    assert len(list(splitter.train_dataloader())) == 4
    fixed = [[e[REGISTRY_KEYS.X_KEY] for e in splitter.val_dataloader()] for _ in range(2)]
    assert fixed[0]
    assert all(torch.equal(*pair) for pair in zip(*fixed, strict=True))


def test_samples_that_share_no_gene_are_never_mixed():
    profiles = np.full((30, 40), np.nan, dtype=np.float32)
    profiles[STUDIES == 0, :20] = 1.0
    profiles[STUDIES != 0, 20:] = 1.0
    for episode in draw(profiles):
        target = episode[REGISTRY_KEYS.TARGET_KEY]
        torch.testing.assert_close(target.sum(1), torch.ones(16))
        assert (target[:, :20].sum() > 0) != (target[:, 20:].sum() > 0)


def spread(episodes):
    """Mean squared log-ratio of cells to their mean, by gene and cell."""
    ratios = [
        (e[REGISTRY_KEYS.TARGET_KEY] + 1e-6).log()
        - (e[REGISTRY_KEYS.TARGET_KEY].mean(0) + 1e-6).log()
        for e in episodes
    ]
    return torch.cat(ratios).square().mean()


def test_a_lower_power_makes_cells_more_alike(profiles):
    blunt, sharp = (draw(profiles, power=(p, p)) for p in (0.5, 2.0))
    assert spread(blunt) < 0.5 * spread(sharp)


def test_library_sizes_are_in_the_range_asked_for(profiles):
    episodes = draw(profiles, library_size=(50, 60))
    medians = torch.stack([e[REGISTRY_KEYS.X_KEY].sum(1).median() for e in episodes])
    assert 30 < medians.min() <= medians.max() < 90


def test_samples_alike_are_those_of_one_group():
    group = np.arange(60) % 2
    profiles = np.ones((60, 40), dtype=np.float32)
    profiles[group == 0, :10] = 50
    profiles[group == 1, 10:20] = 50
    study = np.zeros(60, dtype=int)
    any_sample = spread(draw(profiles, study, power=(1, 1)))
    assert spread(draw(profiles, study, power=(1, 1), alike=1.0)) < 0.2 * any_sample


def test_reads_have_dropouts_and_more_noise_than_molecules(profiles):
    episodes = {share: draw(profiles, n_episodes=40, reads=share) for share in (0.0, 1.0)}
    zeros = {
        share: torch.stack([(e[REGISTRY_KEYS.X_KEY] == 0).float().mean() for e in drawn]).mean()
        for share, drawn in episodes.items()
    }
    assert zeros[1.0] > zeros[0.0] + 0.1
    for episode in episodes[1.0]:
        assert torch.isfinite(episode[REGISTRY_KEYS.X_KEY]).all()
        torch.testing.assert_close(episode[REGISTRY_KEYS.TARGET_KEY].sum(1), torch.ones(16))


def test_hidden_entries_are_unknown_but_still_asked(profiles):
    episodes = draw(profiles, n_episodes=40, hidden=0.4)
    hidden = torch.cat([e[REGISTRY_KEYS.X_KEY].isnan() for e in episodes]).float()
    assert hidden.mean().item() == pytest.approx(0.2, abs=0.03)
    assert all(torch.isfinite(e[REGISTRY_KEYS.TARGET_KEY]).all() for e in episodes)


def test_a_panel_hides_whole_genes(profiles):
    profiles = np.hstack([profiles] * 200)
    for episode in draw(profiles, panels=1.0):
        hidden = episode[REGISTRY_KEYS.X_KEY].isnan()
        assert torch.equal(hidden.any(0), hidden.all(0))
        assert 200 <= (~hidden.all(0)).sum() <= 4_000
        assert episode[REGISTRY_KEYS.TARGET_KEY][:, hidden.all(0)].any()
