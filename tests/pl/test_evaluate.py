"""Tests of the figures of an evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot as plt

from scdtl import pl
from scdtl.pl._evaluate import draw_distribution


def test_bars_are_the_scores_with_the_first_method_on_top(evaluation):
    ax = pl.evaluate(evaluation)
    scores = evaluation.scores["poisson_score"]
    assert [bar.get_width() for bar in ax.patches] == scores.fillna(0).tolist()
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["MAGIC" if name == "magic" else name for name in scores.index]
    assert [text.get_text() for text in ax.texts] == ["0.000", "0.500", "0.600", "–"]
    assert ax.yaxis_inverted()


def test_methods_that_look_alike_have_a_bar_each(evaluation):
    scores = evaluation.scores.rename(index={"observed": "MAGIC"})
    assert len(pl.evaluate(replace(evaluation, scores=scores)).patches) == len(scores)


def test_a_method_has_one_colour_in_all_figures(evaluation):
    bars = pl.evaluate(evaluation).patches
    of_bars = dict(
        zip(evaluation.scores.index, (bar.get_facecolor() for bar in bars), strict=True)
    )
    assert of_bars["scdtl"] != of_bars["magic"]
    _, ax = plt.subplots()
    draw_distribution(ax, evaluation, ["scdtl", "magic"])
    for steps, name in zip(ax.patches, ["scdtl", "magic"], strict=True):
        assert steps.get_edgecolor() == of_bars[name]


def test_the_method_of_an_evaluation_draws_the_same(evaluation):
    expected = [bar.get_width() for bar in pl.evaluate(evaluation).patches]
    assert [bar.get_width() for bar in evaluation.plot().patches] == expected


@pytest.mark.parametrize("method", [None, "magic"])
def test_points_are_the_deviance_explained_of_scored_genes(method, evaluation):
    ax = pl.evaluate_genes(evaluation, method)
    name = method or "scdtl"
    scored = evaluation.genes[evaluation.genes[name].notna()]
    (drawn,) = ax.collections
    assert np.asarray(drawn.get_offsets()) == pytest.approx(
        np.column_stack([scored["mean_count"], scored[name].clip(lower=-0.5)])
    )
    assert ax.get_title() == {"scdtl": "scdtl: each gene", "magic": "MAGIC: each gene"}[name]
    assert ("1 gene below -0.5" in ax.get_ylabel()) == (name == "scdtl")


def test_the_distribution_counts_each_scored_gene(evaluation):
    _, ax = plt.subplots()
    draw_distribution(ax, evaluation, ["scdtl", "magic"])
    for steps, name in zip(ax.patches, ["scdtl", "magic"], strict=True):
        assert steps.get_label() == {"scdtl": "scdtl", "magic": "MAGIC"}[name]
        assert steps.get_data().values.sum() == evaluation.genes[name].notna().sum()


def test_what_is_no_evaluation_or_was_not_evaluated_is_named(evaluation, imputed):
    for figure in (pl.evaluate, pl.evaluate_genes):
        with pytest.raises(TypeError, match=r"not AnnData: run evaluation = scdtl.tl.evaluate"):
            figure(imputed)
    with pytest.raises(ValueError, match="'martian' was not evaluated; there are: 'observed'"):
        pl.evaluate_genes(evaluation, "martian")
    assert plt.get_fignums() == []


def test_without_a_scored_gene_the_axes_stay_empty(evaluation):
    genes = evaluation.genes.assign(scdtl=np.nan)
    ax = pl.evaluate_genes(replace(evaluation, genes=genes))
    assert len(ax.collections[0].get_offsets()) == 0
    assert ax.get_xscale() == "linear"
