"""Tests of the verdict: it says what the tables say, and no more."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scdtl.tl import Evaluation, evaluate

FLOOR = "mean profile + posterior"


def judged(scores, genes=(0.1, -0.1, np.nan)):
    """Evaluation with these columns, or with these Poisson scores."""
    if not isinstance(next(iter(scores.values())), dict):
        scores = {"poisson_score": scores}
    scores = pd.DataFrame(scores)
    columns = {name: list(genes) for name in scores.index}
    index = [f"G{i}" for i in range(len(genes))]
    return Evaluation(scores=scores, genes=pd.DataFrame(columns, index), settings={})


@pytest.fixture(scope="module")
def of_umis(pbmc_counts):
    methods = ["observed", "mean profile", "scdtl", "knn smoothing"]
    return evaluate(pbmc_counts[::4, ::3], methods=methods, bulk=None, max_epochs=3, verbose=False)


def test_it_tells_the_numbers_of_the_tables(of_umis):
    scores, text = of_umis.scores, of_umis.verdict
    percent = (100 * scores["poisson_score"]).round(1)
    explained = of_umis.genes["scdtl"].dropna().sort_values()
    assert f"of scdtl is {percent['scdtl']:.1f} %" in text
    difference = percent["scdtl"] - percent[FLOOR]
    word = "above" if difference >= 0 else "below"
    assert f"{abs(difference):.1f} points {word} that of the {FLOOR}" in text
    assert f"{(explained < 0).sum()} of {len(explained)} genes" in text
    untold = of_umis.genes["scdtl"].isna().sum()
    assert f"the other {untold} genes have too few to judge" in text
    for place, named in (("Best predicted: ", explained[::-1][:3]), ("worst: ", explained[:3])):
        assert place + ", ".join(f"{gene} {share:.2f}" for gene, share in named.items()) in text
    best = percent.idxmax()
    assert f"Best Poisson score: {best} ({percent[best]:.1f} %)" in text
    for column, name in (("gene_r", "gene r"), ("cell_r", "cell r"), ("mse_score", "MSE score")):
        best = scores[column].idxmax()
        assert f"Best {name}: {best} ({scores[column].max():.3f})" in text


@pytest.mark.parametrize(
    ("scores", "phrase"),
    [
        ({"mean profile": 0.5, "scdtl": 0.4}, "adds nothing beyond the mean profile: stay"),
        ({"mean profile": 0.5, FLOOR: 0.7, "scdtl": 0.6}, f"adds nothing beyond the {FLOOR}:"),
        ({"scdtl": 0.5004, "mean profile": 0.5}, "adds nothing beyond the mean profile"),
        ({"scdtl": 0.4}, "No other method was compared"),
        ({"observed": 0.0, "magic": 0.3}, "The Poisson score of magic is 30.0 %"),
        ({"scdtl": np.nan, "observed": np.nan}, "No verdict: the data are too few for a Poisson"),
        ({"scdtl": 0.4, "mean profile": np.nan}, "score of scdtl is 40.0 %. It is"),
        ({"scdtl": 0.4, "magic": 0.4, "alra": 0.1}, "scdtl (40.0 %), tied with magic (40.0 %)."),
        ({"magic": 0.5, "alra": 0.4, "scdtl": 0.2}, "followed by alra (40.0 %); scdtl: 20.0 %."),
    ],
)
def test_it_is_honest_in_every_case(scores, phrase):
    verdict = judged(scores).verdict
    assert phrase in verdict
    assert ("adds nothing" in verdict) == ("adds nothing" in phrase)


def test_wins_and_losses_are_told_measure_by_measure():
    scores = {
        "r": {"mean profile": 0.6, "scdtl": 0.7, "magic": 0.8},
        "rmse": {"mean profile": 0.5, "scdtl": 0.4, "magic": 0.3},
        "r_nonzero": {"mean profile": 0.5, "scdtl": 0.4, "magic": 0.3},
        "rmse_nonzero": {"mean profile": 0.5, "scdtl": 0.6, "magic": 0.7},
        "dropout_auc": {"mean profile": 0.5, "scdtl": 0.5, "magic": np.nan},
    }
    verdict = judged(scores).verdict
    assert "The correlation r of scdtl is 0.700, 0.100 above that of the mean profile" in verdict
    assert (
        "Compared with the mean profile, scdtl is better by correlation r and RMSE; equal by "
        "dropout AUC; worse by r of non-zeros and RMSE of non-zeros." in verdict
    )
    assert "Best correlation r: magic (0.800), followed by scdtl (0.700)." in verdict
    assert "Best RMSE: magic (0.300), followed by scdtl (0.400)." in verdict
    assert "Best RMSE of non-zeros: mean profile (0.500), followed by scdtl (0.600)." in verdict
    assert "Best dropout AUC: mean profile (0.500), tied with scdtl (0.500)." in verdict
    assert "molecules" not in verdict
    assert "adds nothing" not in verdict


@pytest.mark.parametrize(("scdtl", "told"), [(0.7, "better"), (0.6, "equal"), (0.5, "worse")])
def test_one_outcome_of_all_measures_is_told_in_short(scdtl, told):
    scores = {name: {"mean profile": 0.6, "scdtl": scdtl} for name in ("r", "r_nonzero")}
    phrase = f"Compared with the mean profile, scdtl is {told} by every measure."
    assert phrase in judged(scores).verdict


@pytest.mark.parametrize(
    ("genes", "phrase"),
    [
        ((0.1, -0.1, np.nan), "Best predicted: G0 0.10; worst: G1 -0.10 ("),
        ((0.3, 0.2, 0.1), "Best predicted: G0 0.30; worst: G2 0.10 ("),
        ((0.1, np.nan), "0 of 1 genes"),
        ((np.nan, np.nan), "No gene has enough molecules (at least 20 held out)"),
    ],
)
def test_no_gene_is_named_as_best_and_worst(genes, phrase):
    verdict = judged({"scdtl": 0.4}, genes).verdict
    assert phrase in verdict
    assert ("Best predicted" in verdict) == ("Best predicted" in phrase)
