"""Tests of the figure of genes that were not measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib import pyplot as plt

from scdtl import pl


def of(values):
    var = pd.DataFrame({"expected_r": values}, index=[f"G{i}" for i in range(len(values))])
    return AnnData(np.zeros((2, len(values)), dtype=np.float32), var=var)


def heights(ax):
    """Number of genes by the left edge of the bin."""
    return {
        round(bar.get_x(), 2): bar.get_height()
        for kind in ax.containers
        for bar in kind
        if bar.get_height()
    }


def test_every_gene_is_counted_once_where_its_correlation_is():
    ax = pl.unmeasured(of([-0.12, 0.0, 0.01, 0.2, 0.21, 0.5, 0.97, 1.0]), n_genes=0)
    expected = {-0.15: 1, 0.0: 2, 0.2: 2, 0.5: 1, 0.95: 2}
    assert heights(ax) == expected
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["0.5 or more: 3", "0.2 to 0.5: 2", "below 0.2: 3"]
    assert ax.get_xlim() == pytest.approx((-0.15, 1))


def test_real_genes_are_all_there(lacking):
    ax = pl.unmeasured(lacking)
    assert sum(heights(ax).values()) == lacking.n_vars
    assert f"{lacking.n_vars:,} genes" in ax.get_legend().get_title().get_text()


def test_the_genes_to_believe_most_are_named_at_their_place(lacking):
    ax = pl.unmeasured(lacking, n_genes=4)
    best = lacking.var["expected_r"].nlargest(4)
    assert {text.get_text(): text.xy[0] for text in ax.texts} == pytest.approx(best.to_dict())


def test_chosen_genes_are_named(lacking):
    names = list(lacking.var_names[[5, 17]])
    assert {text.get_text() for text in pl.unmeasured(lacking, genes=names).texts} == set(names)


def test_names_do_not_overlap_and_stay_within_the_axes():
    ax = pl.unmeasured(of([0.99, 0.99, 0.985, 0.5, 0.2, 0.98, 0.97]), n_genes=7)
    # With its line, the extent of an annotation reaches to the axis: places tell.
    places = sorted(text.get_position()[0] for text in ax.texts)
    left, right = ax.get_xlim()
    assert np.diff(places).min() > 0.045 * (right - left)
    assert places[0] > left
    assert places[-1] < right


def test_what_has_nothing_to_expect_is_refused(imputed, lacking):
    with pytest.raises(KeyError, match="give what scdtl.pp.impute_unmeasured returned"):
        pl.unmeasured(imputed)
    with pytest.raises(ValueError, match="fewer than 20 measured genes"):
        pl.unmeasured(of([np.nan, np.nan]))
    with pytest.raises(KeyError, match="'MARTIAN'"):
        pl.unmeasured(lacking, genes=["MARTIAN"])
    with pytest.raises(ValueError, match="n_genes must be 0 or more"):
        pl.unmeasured(lacking, n_genes=-1)
    assert plt.get_fignums() == []
