"""Tests of evaluate on reads: whole entries are held out."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib import pyplot as plt
from scipy import sparse, stats

import scdtl
from scdtl.tl import evaluate
from scdtl.tl.peers import load
from scdtl.tl.peers._chosen import chosen
from scdtl.tl.peers._peer import Options

SIMPLE = ["observed", "mean profile"]
SCORES = [
    "r",
    "rmse",
    "r_nonzero",
    "rmse_nonzero",
    "dropout_auc",
    "gene_error_explained",
    "seconds",
]


@pytest.fixture(scope="module")
def reads(pbmc_counts):
    """Real counts in some 30 copies each, from which entries have dropped out; not to change."""
    random = np.random.default_rng(0)
    molecules = pbmc_counts.X[::4, ::3].toarray()
    copies = random.poisson(molecules * random.gamma(3, 10, size=molecules.shape))
    copies[random.random(copies.shape) < 0.2] = 0
    return AnnData(
        sparse.csr_matrix(copies, dtype=np.float32),
        obs=pbmc_counts.obs[::4][[]],
        var=pbmc_counts.var[::3][[]],
    )


@pytest.fixture(scope="module")
def evaluation(reads):
    return evaluate(
        reads,
        methods=[*SIMPLE, "scdtl", "knn smoothing"],
        bulk=None,
        max_epochs=5,
        random_state=3,
        verbose=False,
    )


@pytest.fixture(scope="module")
def split(reads):
    """Which entries are held out, the counts without them, and the true logarithms."""
    counts = reads.X.toarray().astype(float)
    hidden = np.random.default_rng(3).random(counts.shape, dtype=np.float32) < 0.1
    return hidden, np.where(hidden, 0, counts), log_cp10k(counts)


def log_cp10k(counts):
    return np.log1p(counts * (1e4 / counts.sum(axis=1, keepdims=True)))


def by_hand(truth, predicted, detection=None):
    """The scores of one method, of flat arrays."""
    positive = truth > 0
    ranks = stats.rankdata(predicted if detection is None else detection)
    n, m = positive.sum(), (~positive).sum()
    return {
        "r": np.corrcoef(truth, predicted)[0, 1],
        "rmse": np.sqrt(np.mean((truth - predicted) ** 2)),
        "r_nonzero": np.corrcoef(truth[positive], predicted[positive])[0, 1],
        "rmse_nonzero": np.sqrt(np.mean((truth - predicted)[positive] ** 2)),
        "dropout_auc": (ranks[positive].sum() - n * (n + 1) / 2) / (n * m),
    }


def test_tables_have_a_row_per_method_and_gene(evaluation, reads):
    methods = [*SIMPLE, "scdtl", "knn smoothing"]
    assert list(evaluation.scores.index) == methods
    assert list(evaluation.scores.columns) == SCORES
    assert list(evaluation.genes.columns) == [*methods, "n_held_out", "mean_count"]
    assert list(evaluation.genes.index) == list(reads.var_names)
    assert evaluation.settings["noise"] == "reads"


def test_methods_get_zeros_where_entries_are_held_out(reads, split):
    received = []

    def spy(cells):
        received.append(cells.copy())
        return np.ones(cells.shape)

    evaluate(reads, methods=[spy], random_state=3)
    (cells,) = received
    assert np.array_equal(cells.X.toarray(), split[1])
    assert (cells.X.data > 0).all()  # no stored zero marks a held-out entry


def test_scores_of_the_mean_profile_are_those_of_the_mean_of_logs(evaluation, split):
    hidden, kept, truth = split
    means = np.tile(log_cp10k(kept).mean(axis=0), (len(kept), 1))
    row = evaluation.scores.loc["mean profile"]
    for name, expected in by_hand(truth[hidden], means[hidden]).items():
        assert row[name] == pytest.approx(expected, abs=1e-5), name
    assert row["gene_error_explained"] == pytest.approx(0, abs=1e-9)


def test_rates_are_scored_at_ten_thousand_per_cell(evaluation, split):
    hidden, kept, truth = split
    cells = AnnData(sparse.csr_matrix(kept, dtype=np.float32))
    rates = load("knn smoothing").run(cells, Options(3)).toarray().astype(float)
    predicted = log_cp10k(rates)
    row = evaluation.scores.loc["knn smoothing"]
    for name, expected in by_hand(truth[hidden], predicted[hidden]).items():
        assert row[name] == pytest.approx(expected, abs=1e-5), name


def test_scdtl_is_asked_from_other_genes_and_by_its_chance_of_detection(evaluation, reads, split):
    hidden, kept, truth = split
    cells = AnnData(sparse.csr_matrix(kept, dtype=np.float32), reads.obs, reads.var)
    scdtl.pp.impute(
        cells,
        noise="reads",
        bulk=None,
        max_epochs=5,
        own_counts=False,
        return_dropout=True,
        random_state=3,
        verbose=False,
    )
    predicted, chance = cells.layers["scdtl"], cells.layers["scdtl_dropout"].toarray()
    row = evaluation.scores.loc["scdtl"]
    expected = by_hand(truth[hidden], predicted[hidden], chance[hidden])
    for name, number in expected.items():
        assert row[name] == pytest.approx(number, abs=1e-5), name


def test_genes_are_compared_with_their_mean(evaluation, split):
    hidden, kept, truth = split
    cells = AnnData(sparse.csr_matrix(kept, dtype=np.float32))
    rates = load("knn smoothing").run(cells, Options(3)).toarray().astype(float)

    def error(predicted):
        return (np.where(hidden, truth - predicted, 0) ** 2).sum(axis=0)

    n_positive = (hidden & (truth > 0)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = 1 - error(log_cp10k(rates)) / error(log_cp10k(kept).mean(axis=0))
    expected = np.where(n_positive >= 5, share, np.nan)
    found = evaluation.genes["knn smoothing"].to_numpy()
    assert 0 < np.isfinite(found).sum() < len(found)
    assert found == pytest.approx(expected, abs=1e-4, nan_ok=True)
    assert evaluation.genes["n_held_out"].to_numpy() == pytest.approx(n_positive)
    mean = evaluation.scores.loc["knn smoothing", "gene_error_explained"]
    assert mean == pytest.approx(np.nanmean(expected), abs=1e-4)


def test_no_denoising_predicts_nothing(evaluation):
    row = evaluation.scores.loc["observed"]
    assert np.isnan(row["r"])
    assert row["dropout_auc"] == 0.5


def test_splits_of_many_cells_hold_out_the_share_asked_for(pbmc_counts):
    many = pbmc_counts.copy()  # more than a block
    many.X = many.X * 40
    found = evaluate(many, methods=["mean profile"], held_out_fraction=0.3)
    detected = np.asarray((many.X > 0).sum(axis=0)).ravel()
    assert found.genes["n_held_out"].sum() == pytest.approx(0.3 * detected.sum(), rel=0.02)
    first, second = (evaluate(many, methods=SIMPLE, random_state=seed) for seed in (4, 5))
    both = evaluate(many, methods=SIMPLE, random_state=4, n_splits=2)
    pd.testing.assert_frame_equal(both.genes, (first.genes + second.genes) / 2)


def test_tpm_scores_as_counts_do(reads):
    tpm = reads.copy()
    tpm.X = sparse.csr_matrix(reads.X.multiply(1e6 / reads.X.sum(axis=1)), dtype=np.float32)
    of_counts, of_tpm = (
        evaluate(data, methods=["mean profile"], noise="reads").scores.drop(columns="seconds")
        for data in (reads, tpm)  # of some hundred genes, which are too few to recognise TPM by
    )
    pd.testing.assert_frame_equal(of_counts, of_tpm, rtol=1e-4)


def test_the_noise_model_can_be_asked_for(reads):
    assert "poisson_score" in evaluate(reads, methods=SIMPLE, noise="umi").scores
    few = scdtl.datasets.toy()
    assert "poisson_score" in evaluate(few, methods=SIMPLE).scores
    assert "dropout_auc" in evaluate(few, methods=SIMPLE, noise="reads").scores


def test_adata_stays_as_it_is(reads):
    before = reads.copy()
    evaluate(reads, methods=["scdtl", "observed"], bulk=None, max_epochs=0, verbose=False)
    assert (reads.X != before.X).nnz == 0
    assert [*reads.layers, *reads.obsm, *reads.uns, *reads.var.columns] == []


def test_magic_on_logs_runs_by_default_for_reads_only(monkeypatch):
    monkeypatch.setattr("scdtl.tl.peers._peer.distribution", lambda name: name)
    assert set(chosen(None, "reads")) - set(chosen(None, "umi")) == {"magic on logs"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"held_out_fraction": 1e-9}, "no non-zero entry on one side"),
        ({"methods": [lambda cells: np.ones(3)]}, "gave rates of shape"),
        ({"methods": [lambda cells: -cells.X]}, "gave no rates: rates must not be negative"),
    ],
    ids=["no entries", "shape", "negative"],
)
def test_wrong_arguments_are_named(options, message, reads):
    with pytest.raises(ValueError, match=message):
        evaluate(reads, **({"methods": SIMPLE} | options))


def test_words_plot_and_page_are_about_entries(evaluation, tmp_path):
    r = evaluation.scores["r"]
    assert f"The correlation r of scdtl is {r['scdtl']:.3f}" in evaluation.verdict
    assert "10 % of the entries held out" in repr(evaluation)
    ax = evaluation.plot(show=False)
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(r.fillna(0).to_list())
    assert ax.get_title() == "Held-out entries predicted"
    assert "correlation r" in ax.get_xlabel()
    points = scdtl.pl.evaluate_genes(evaluation, show=False)
    assert "squared error explained" in points.get_ylabel()
    assert points.get_xlabel() == "counts per cell"
    plt.close("all")
    evaluation.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search("molecule|posterior", page)
    for words in ("held-out entries", "dropout_auc", "gene_error_explained"):
        assert words in page
