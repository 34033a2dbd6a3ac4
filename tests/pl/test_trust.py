"""Tests of the figure of trust."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from scdtl import pl


@pytest.fixture
def cells(imputed):
    """Four known genes, one of them trusted, the others without trust."""
    cells = imputed.copy()
    trust = np.full(cells.n_vars, np.nan)
    trust[:4] = [0.5, -0.2, 0.001, -3.0]
    cells.var["scdtl_trust"] = trust
    cells.var["scdtl_trusted"] = trust > 0.1
    return cells


def test_points_are_trust_against_mean_count(imputed):
    trust, is_trusted = imputed.var["scdtl_trust"].to_numpy(), imputed.var["scdtl_trusted"]
    mean_count = imputed.to_df().mean().to_numpy()
    trusted, not_trusted, _ = pl.trust(imputed).collections
    for drawn, genes in (
        (trusted, is_trusted.to_numpy()),
        (not_trusted, ~is_trusted.to_numpy() & ~np.isnan(trust)),
    ):
        assert np.asarray(drawn.get_offsets()) == pytest.approx(
            np.column_stack([mean_count[genes], trust[genes]]), rel=1e-5
        )
    assert len(trusted.get_offsets()) > 0
    assert len(not_trusted.get_offsets()) > 0


def test_genes_that_are_not_trusted_have_another_colour_and_all_are_counted(cells):
    ax = pl.trust(cells)
    trusted, not_trusted, too_few = ax.collections
    assert np.asarray(trusted.get_offsets())[:, 1].tolist() == [0.5]
    assert np.asarray(not_trusted.get_offsets())[:, 1].tolist() == [-0.2, 0.001, -0.5]
    assert to_hex(trusted.get_facecolor()[0]) != to_hex(not_trusted.get_facecolor()[0])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "trusted: 1",
        "not trusted: 3",
        f"too few to tell: {cells.n_vars - 4}",
    ]
    assert "(1 gene below -0.5 drawn there)" in ax.get_ylabel()
    mean_count = cells.to_df().mean().to_numpy()[4:]
    assert np.asarray(too_few.get_offsets())[:, 0] == pytest.approx(
        mean_count[mean_count > 0], rel=1e-5
    )
    assert ax.get_xlim()[0] <= mean_count[mean_count > 0].min()
    assert ax.get_xscale() == "log"


def test_a_line_is_at_the_mean_profile(cells):
    assert list(pl.trust(cells).lines[0].get_ydata()) == [0, 0]


def test_genes_are_named_at_their_points(cells):
    names = cells.var_names[[0, 3, 10]]
    ax = pl.trust(cells, genes=names)
    mean_count = cells.to_df().mean()
    assert [text.get_text() for text in ax.texts] == list(names)
    known, lowest, unknown = (text.xy for text in ax.texts)
    assert known == pytest.approx((mean_count[names[0]], 0.5))
    assert lowest == pytest.approx((mean_count[names[1]], -0.5))
    assert unknown[0] == pytest.approx(mean_count[names[2]])


def test_names_of_genes_at_one_place_do_not_lie_on_each_other(cells):
    cells.var["scdtl_trust"] = 0.5
    names = cells.to_df().mean().nlargest(4).index
    ax = pl.trust(cells, genes=names)
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not [1 for i, box in enumerate(boxes) for other in boxes[:i] if box.overlaps(other)]


def test_counts_may_be_in_a_layer(cells):
    expected = np.asarray(pl.trust(cells).collections[0].get_offsets())
    cells.layers["counts"] = cells.X.toarray()
    cells.X = cells.X.log1p()
    with pytest.raises(ValueError, match="not integers.*name it as layer="):
        pl.trust(cells)
    found = np.asarray(pl.trust(cells, layer="counts").collections[0].get_offsets())
    assert found == pytest.approx(expected)


def test_without_any_known_trust_the_figure_says_so(cells):
    cells.var["scdtl_trust"], cells.var["scdtl_trusted"] = np.nan, False
    texts = [text.get_text() for text in pl.trust(cells).get_legend().get_texts()]
    assert texts == ["trusted: 0", "not trusted: 0", f"too few to tell: {cells.n_vars}"]


def test_wrong_genes_and_missing_trust_are_named(cells):
    cells.X = cells.X.toarray()
    cells.X[:, 0] = 0
    empty = str(cells.var_names[0])
    with pytest.raises(ValueError, match=f"{empty} has no counts"):
        pl.trust(cells, genes=[empty])
    with pytest.raises(KeyError, match="'MARTIAN'"):
        pl.trust(cells, genes=["MARTIAN"])
    with pytest.raises(TypeError, match=r"write genes=\['CD3D'\]"):
        pl.trust(cells, genes="CD3D")
    del cells.var["scdtl_trust"]
    with pytest.raises(KeyError, match="'scdtl_trust' is no longer in adata.var"):
        pl.trust(cells)
    assert plt.get_fignums() == []
