"""Tests of the figure of dropouts: its bars are shares of the cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy import sparse

from scdtl import pl


@pytest.fixture
def cells(imputed):
    """Two genes of known zeros and probabilities."""
    cells = imputed.copy()
    chance = np.zeros(cells.shape, dtype=np.float32)
    counts = np.ones(cells.shape, dtype=np.float32)
    counts[:100, 0] = 0
    chance[:35, 0] = 0.9
    chance[35:70, 0] = 0.3
    counts[:70, 1] = 0
    chance[:7, 1] = 0.6
    cells.X, cells.layers["scdtl_dropout"] = counts, sparse.csr_matrix(chance)
    return cells


def bars(ax):
    """Rows × detected, likely dropout, zero that stays, in percent."""
    names = [label.get_text() for label in ax.get_yticklabels()]
    shares = np.column_stack([[bar.get_width() for bar in kind] for kind in ax.containers])
    return dict(zip(names, shares.tolist(), strict=True))


def test_bars_are_shares_of_the_cells(cells):
    first, second = map(str, cells.var_names[:2])
    found = bars(pl.dropout(cells, [first, second]))
    assert found[first] == pytest.approx([100 * 75 / 175, 100 * 35 / 175, 100 * 65 / 175])
    assert found[second] == pytest.approx([60, 4, 36])


def test_the_threshold_decides(cells):
    first = str(cells.var_names[0])
    assert bars(pl.dropout(cells, [first], threshold=0.2))[first][1] == pytest.approx(40)
    cells.uns["scdtl"]["params"]["dropout_threshold"] = 0.95
    assert bars(pl.dropout(cells, [first]))[first][1] == 0


def test_genes_with_most_likely_dropouts_come_first(cells):
    ax = pl.dropout(cells, n_genes=2)
    assert list(bars(ax)) == list(map(str, cells.var_names[:2]))
    assert ax.yaxis_inverted()


def test_a_gene_is_drawn_by_group(cells):
    first = str(cells.var_names[0])
    ax = pl.dropout(cells, first, groupby="odd")
    found = bars(ax)
    assert list(found) == ["False", "True"]
    counts, chance = cells.to_df()[first], cells.to_df("scdtl_dropout")[first]
    for group in (False, True):
        of_group = cells.obs["odd"] == group
        assert found[str(group)][0] == pytest.approx(100 * (counts[of_group] > 0).mean())
        assert found[str(group)][1] == pytest.approx(100 * (chance[of_group] > 0.5).mean())
        assert sum(found[str(group)]) == pytest.approx(100)
    assert ax.get_legend().get_title().get_text() == first


def test_groups_come_in_the_order_of_their_categories_and_only_those_with_cells(cells):
    kinds = np.where(np.arange(175) < 100, "small", "large")
    cells.obs["size"] = pd.Categorical(kinds, ["small", "middle", "large"])
    cells.obs.loc[cells.obs_names[:50], "size"] = np.nan
    found = bars(pl.dropout(cells, str(cells.var_names[0]), groupby="size"))
    assert list(found) == ["small", "large"]
    assert found["small"] == pytest.approx([0, 0, 100])
    assert found["large"] == pytest.approx([100, 0, 0])


def test_real_dropouts_are_where_the_gene_is_expressed(imputed):
    found = bars(pl.dropout(imputed, "LST1", groupby="bulk_labels"))
    assert set(found) == set(imputed.obs["bulk_labels"])
    stays = {group: zeros for group, (_, _, zeros) in found.items()}
    assert stays["CD14+ Monocyte"] < stays["CD19+ B"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"genes": ["MARTIAN"]}, KeyError, "'MARTIAN'"),
        ({"genes": []}, ValueError, "genes is empty"),
        ({"groupby": "odd"}, ValueError, "groupby is for one gene"),
        ({"genes": "LST1", "groupby": "no"}, KeyError, "'no' is not a column of adata.obs; there"),
        ({"n_genes": 0}, ValueError, "n_genes must be at least 1"),
        ({"layer": "no"}, KeyError, "layer 'no' is not in adata.layers"),
    ],
    ids=["gene", "no gene", "groups of all", "groups", "none", "layer"],
)
def test_wrong_arguments_are_named(options, error, message, imputed):
    with pytest.raises(error, match=message):
        pl.dropout(imputed, **options)
    assert plt.get_fignums() == []


def test_missing_probabilities_are_named_with_advice_that_works(imputed):
    from scdtl.pp import impute

    cells = imputed.copy()
    del cells.layers["scdtl_dropout"]
    with pytest.raises(KeyError, match="run scdtl.pp.impute with return_dropout=True"):
        pl.dropout(cells)
    impute(cells, bulk=None, max_epochs=0, return_dropout=True, genes=["LST1"], verbose=False)
    pl.dropout(cells, "LST1")
    plt.close("all")
    with pytest.raises(KeyError, match="'GNLY' was not written by scdtl.pp.impute"):
        pl.dropout(cells, "GNLY")
