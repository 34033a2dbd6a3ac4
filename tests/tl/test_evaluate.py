"""Tests of evaluate on real counts: honest, reproducible, and true to its own tables."""

from __future__ import annotations

import re
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scdtl
from scdtl.data._thin import thin
from scdtl.tl import Evaluation, evaluate
from scdtl.tl._scores import Molecules
from scdtl.tl.peers._chosen import chosen

SIMPLE = ["observed", "mean profile"]
METHODS = [*SIMPLE, "scdtl", "knn smoothing"]
ROWS = [*SIMPLE, "mean profile + posterior", "scdtl", "knn smoothing", "knn smoothing + posterior"]
SCORES = [
    "poisson_score",
    "gene_deviance_explained",
    "mse_score",
    "gene_r",
    "cell_r",
    "seconds",
]


@pytest.fixture(scope="module")
def counts(pbmc_counts):
    """A sample of the real counts, with what a user's AnnData has beside them; not to change."""
    adata = pbmc_counts[::4, ::3].copy()
    adata.layers["counts"] = adata.X.copy()
    adata.obs["batch"] = np.where(np.arange(adata.n_obs) % 2, "a", "b")
    return adata


@pytest.fixture(scope="module")
def evaluation(counts):
    """All methods that are the default wherever MAGIC is not installed."""
    return evaluate(
        counts, methods=METHODS, bulk=None, held_out_fraction=0.2, max_epochs=3, verbose=False
    )


def without_time(evaluation):
    return evaluation.scores.drop(columns="seconds")


def log_cp10k(counts):
    return np.log1p(counts * (1e4 / counts.sum(axis=1, keepdims=True)))


def test_tables_have_a_row_per_method_and_gene(evaluation, counts):
    assert isinstance(evaluation, Evaluation)
    assert list(evaluation.scores.index) == ROWS
    assert list(evaluation.scores.columns) == SCORES
    assert list(evaluation.genes.index) == list(counts.var_names)
    assert list(evaluation.genes.columns) == [*ROWS, "n_held_out", "mean_count"]
    assert evaluation.scores.loc["observed", "poisson_score"] == 0
    assert evaluation.scores.loc["observed", "mse_score"] == 0
    assert evaluation.scores.drop(index="mean profile").notna().all(axis=None)
    assert np.isnan(evaluation.scores.loc["mean profile", "gene_r"])  # the same for every cell


def test_rates_learnt_from_cells_beat_no_denoising(evaluation):
    score = evaluation.scores["poisson_score"]
    assert score["scdtl"] > 0.2
    assert score["knn smoothing"] > 0.2


def test_genes_with_few_molecules_are_not_scored(evaluation):
    genes = evaluation.genes
    scored = genes[list(evaluation.scores.index)].notna()
    assert (scored.all(axis=1) == (genes["n_held_out"] >= 20)).all()
    assert (scored.any(axis=1) == scored.all(axis=1)).all()
    assert 0 < scored["scdtl"].sum() < len(genes)
    assert evaluation.scores["gene_deviance_explained"].to_numpy() == pytest.approx(
        genes[list(evaluation.scores.index)].mean().to_numpy()
    )


# Leakage


def test_methods_receive_the_kept_molecules_and_nothing_else(counts):
    received = []

    def spy(cells):
        received.append(cells.copy())
        assert sparse.issparse(cells.X)
        cells.X = cells.X * 0  # and what one method does to its copy, no other one sees
        return np.ones(cells.shape)

    def second_spy(cells):
        received.append(cells.copy())
        return np.ones(cells.shape)

    evaluate(counts, methods=[spy, second_spy], batch_key="batch", random_state=3)
    kept, held_out = thin(counts.X, 0.9, np.random.default_rng(3))
    for cells in received:
        assert abs(cells.X - kept).max() == 0
        assert abs(cells.X + held_out - counts.X).max() == 0
        assert cells.X.nnz == (kept.data > 0).sum()  # no stored zero marks a held-out molecule
        assert list(cells.obs.columns) == ["batch"]
        assert cells.var.columns.empty
        assert cells.raw is None
        assert not set(cells.layers) - {None}
        assert [*cells.obsm, *cells.varm, *cells.obsp, *cells.uns] == []


def test_a_split_keeps_every_molecule_on_one_side():
    counts = scdtl.datasets.pbmc68k_counts().X
    split = Molecules.split(counts, held_out_fraction=0.1, seed=0)
    assert abs((split.kept + split.held_out) - counts).max() == 0
    assert split.kept.sum() / counts.sum() == pytest.approx(0.9, abs=0.005)
    assert split.held_out.data.min() >= 1


def test_scores_of_the_mean_profile_are_those_of_the_closed_form(counts):
    fraction, seed = 0.2, 5
    found = evaluate(counts, methods=SIMPLE, held_out_fraction=fraction, random_state=seed)
    kept, held_out = (
        part.toarray().astype(float)
        for part in thin(counts.X, 1 - fraction, np.random.default_rng(seed))
    )
    profile = (kept.sum(axis=0) + 0.5) / (kept.sum(axis=0) + 0.5).sum()
    depth = held_out.sum(axis=1, keepdims=True)

    def loss(rates):
        return np.mean(rates - held_out * np.log(rates + 1e-6))

    nothing = loss(kept * (depth / kept.sum(axis=1, keepdims=True)))
    score = (nothing - loss(depth * profile)) / (nothing - loss(held_out))
    truth, predicted = log_cp10k(held_out), log_cp10k(depth * profile)
    error = np.mean((truth - predicted) ** 2) / np.mean((truth - log_cp10k(kept)) ** 2)
    cell_r = [np.corrcoef(*pair)[0, 1] for pair in zip(truth, predicted, strict=True)]
    row = found.scores.loc["mean profile"]
    assert row["poisson_score"] == pytest.approx(score, abs=1e-5)
    assert row["mse_score"] == pytest.approx(1 - error, abs=1e-5)
    assert row["cell_r"] == pytest.approx(np.median(cell_r), abs=1e-5)
    assert row["gene_deviance_explained"] == pytest.approx(0, abs=1e-3)
    assert found.genes["n_held_out"].to_numpy() == pytest.approx(held_out.sum(axis=0))
    assert found.genes["mean_count"].to_numpy() == pytest.approx(counts.X.toarray().mean(axis=0))


def test_rates_of_any_depth_score_alike(counts):
    def profile(cells):
        return np.tile(np.asarray(cells.X.sum(axis=0)) + 0.5, (cells.n_obs, 1))

    def deeper(cells):
        return profile(cells) * np.arange(1, cells.n_obs + 1)[:, None]

    scores = without_time(evaluate(counts, methods=["mean profile", profile, deeper]))
    columns = ["poisson_score", "gene_deviance_explained", "mse_score", "cell_r"]
    for name in ("profile", "deeper"):
        assert scores.loc[name, columns].to_numpy() == pytest.approx(
            scores.loc["mean profile", columns].to_numpy(), abs=1e-5
        )


# Same input, same numbers


def test_adata_and_random_states_stay_as_they_are(counts, monkeypatch):
    before = counts.copy()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    evaluate(counts, layer="counts", batch_key="batch", methods=["knn smoothing", "observed"])
    evaluate(counts, methods=["scdtl"], bulk=None, max_epochs=0, verbose=False)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    assert (counts.X != before.X).nnz == 0
    assert (counts.layers["counts"] != before.layers["counts"]).nnz == 0
    pd.testing.assert_frame_equal(counts.obs, before.obs)
    pd.testing.assert_frame_equal(counts.var, before.var)
    for slot in ("layers", "obsm", "varm", "uns", "obsp"):
        assert set(getattr(counts, slot)) == set(getattr(before, slot))


def test_same_seed_same_numbers(evaluation, counts):
    again = evaluate(
        counts, methods=METHODS, bulk=None, held_out_fraction=0.2, max_epochs=3, verbose=False
    )
    pd.testing.assert_frame_equal(without_time(again), without_time(evaluation))
    pd.testing.assert_frame_equal(again.genes, evaluation.genes)


def test_splits_are_averaged(counts):
    first, second = (evaluate(counts, methods=SIMPLE, random_state=seed) for seed in (4, 5))
    both = evaluate(counts, methods=SIMPLE, random_state=4, n_splits=2)
    assert not without_time(first).equals(without_time(second))
    pd.testing.assert_frame_equal(
        without_time(both), (without_time(first) + without_time(second)) / 2
    )
    pd.testing.assert_frame_equal(both.genes, (first.genes + second.genes) / 2)


def test_layer_view_and_dense_counts_are_taken(counts):
    expected = without_time(evaluate(counts, methods=SIMPLE))
    dense = counts.copy()
    dense.layers["dense"] = counts.X.toarray()
    dense.X = None
    for given, layer in ((dense, "dense"), (counts[:], None)):
        found = without_time(evaluate(given, layer=layer, methods=SIMPLE))
        pd.testing.assert_frame_equal(found, expected)


def test_features_that_are_no_genes_are_left_out(counts):
    genes = counts[:, :200].copy()
    expected = without_time(evaluate(genes, methods=SIMPLE))
    mixed = counts.copy()
    is_gene = np.arange(counts.n_vars) < 200
    mixed.var["feature_types"] = np.where(is_gene, "Gene Expression", "Antibody Capture")
    found = evaluate(mixed, methods=SIMPLE)
    pd.testing.assert_frame_equal(without_time(found), expected)
    assert list(found.genes.index) == list(genes.var_names)


# Methods


def test_by_default_all_chosen_peers_are_scored(adata):
    scores = evaluate(adata, bulk=None, max_epochs=1, verbose=False).scores
    rows = [name for name in scores.index if not name.endswith("posterior")]
    assert rows == list(chosen(None))
    assert "mean profile + posterior" in scores.index


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"methods": ["observed", "martian"]}, ValueError, "'martian'.*observed, mean profile, s"),
        ({"methods": []}, ValueError, "methods is empty"),
        ({"methods": ["observed", "observed"]}, ValueError, "more than one"),
        ({"held_out_fraction": 1}, ValueError, "held_out_fraction must lie between"),
        ({"held_out_fraction": 1e-9}, ValueError, "none on one side"),
        ({"n_splits": 0}, ValueError, "n_splits must be"),
        ({"random_state": -1}, ValueError, "random_state must be"),
        ({"scale": "log1p"}, TypeError, "no argument scale"),
        ({"batch_key": "nobody"}, KeyError, "batch_key 'nobody'"),
        ({"layer": "nowhere"}, KeyError, "layer 'nowhere'"),
        ({"methods": [lambda cells: np.ones(3)]}, ValueError, "gave rates of shape"),
        ({"methods": [lambda cells: -cells.X]}, ValueError, "must not be negative"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_arguments_are_named(options, error, message, counts):
    with pytest.raises(error, match=message):
        evaluate(counts, **({"methods": SIMPLE} | options))


def test_normalised_counts_are_refused(counts):
    logged = counts.copy()
    logged.X = logged.X.log1p()
    with pytest.raises(ValueError, match="not integers"):
        evaluate(logged, methods=SIMPLE)


# Words, plot and page


def test_repr_shows_table_and_verdict(evaluation):
    shown, page = repr(evaluation), evaluation._repr_html_()
    assert evaluation.verdict in shown
    for score in evaluation.scores["poisson_score"]:
        assert f"{score:.3f}" in shown
        assert f"{score:.3f}" in page
    assert "175 cells × 255 genes, 20 % of the molecules held out, 1 split" in shown


def test_plot_draws_a_bar_per_method_and_saves(evaluation, tmp_path, monkeypatch):
    from matplotlib import pyplot as plt

    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(1))
    axes = evaluation.plot(save=tmp_path / "scores.png")
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == pytest.approx(evaluation.scores["poisson_score"].to_list())
    assert (tmp_path / "scores.png").stat().st_size > 5_000
    assert not shown
    assert evaluation.plot(axes, show=True) is axes
    assert shown == [1]
    plt.close(axes.figure)


def test_the_page_needs_nothing_beside_itself(evaluation, tmp_path):
    path = tmp_path / "report.html"
    evaluation.to_html(path)
    page = path.read_text(encoding="utf-8")
    assert not re.search(r"https?:|<script|<link|@import|url\(", page)
    assert set(re.findall(r'src="(.{22})', page)) == {"data:image/png;base64,"}
    assert page.count("<img") == 2
    for score in evaluation.scores["poisson_score"]:
        assert f"{score:.3f}" in page
    assert page.index("The Poisson score of scdtl") < page.index("<h2>")
    for fact in ("random_state", "held_out_fraction", scdtl.__version__, version("anndata")):
        assert fact in page
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_the_page_escapes_names(counts, tmp_path):
    def method(cells):
        return cells.X

    method.__name__ = "<script>alert(1)</script>"
    evaluate(counts, methods=[method]).to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_failed_page_leaves_the_old_one(evaluation, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(self, *args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        evaluation.to_html(path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("as_file", [False, True])
def test_own_bulk_is_trained_once_whatever_the_number_of_splits(as_file, monkeypatch, tmp_path):
    bulk = scdtl.datasets.toy_bulk()
    if as_file:
        bulk.write_h5ad(tmp_path / "bulk.h5ad")
        bulk = str(tmp_path / "bulk.h5ad")
    trained = []
    train = scdtl.BulkDAE.train

    def counted(self, **kwargs):
        trained.append(self)
        train(self, max_epochs=1, n_episodes=3, enable_progress_bar=False)

    monkeypatch.setattr(scdtl.BulkDAE, "train", counted)
    evaluation = evaluate(
        scdtl.datasets.toy(),
        methods=["scdtl"],
        bulk=bulk,
        n_splits=2,
        max_epochs=1,
        verbose=False,
    )
    assert len(trained) == 1
    assert evaluation.settings["bulk"] == (bulk if as_file else "AnnData")
