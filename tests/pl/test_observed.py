"""Tests of observed against imputed expression: the points are the data."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from scipy import sparse

from scdtl import pl


@pytest.fixture(scope="module")
def genes(imputed):
    """The five genes with the most molecules."""
    totals = np.asarray(imputed.X.sum(axis=0)).ravel()
    return list(imputed.var_names[np.argsort(-totals)[:5]])


@pytest.fixture(scope="module")
def log_cp10k(imputed):
    cells = sc.AnnData(imputed.X.copy(), obs=imputed.obs[[]], var=imputed.var[[]])
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    return cells.to_df()


def points(ax):
    return np.concatenate([np.asarray(drawn.get_offsets()) for drawn in ax.collections])


def test_points_are_observed_log_cp10k_and_the_imputed_layer(imputed, genes, log_cp10k):
    axes = pl.observed_vs_imputed(imputed, genes)
    expected = imputed.to_df(layer="scdtl")
    assert [ax.get_title() for ax in axes] == genes
    for ax, gene in zip(axes, genes, strict=True):
        assert points(ax)[:, 0] == pytest.approx(log_cp10k[gene].to_numpy(), rel=1e-5)
        assert points(ax)[:, 1] == pytest.approx(expected[gene].to_numpy())
        assert ax.get_xlabel() == "observed (log1p CP10k)"
        assert ax.get_ylabel() == "imputed (log1p CP10k)"


def test_gene_scatter_has_observed_left_and_imputed_right(imputed, genes, log_cp10k):
    x, y = genes[:2]
    left, right = pl.gene_scatter(imputed, x, y)
    assert points(left) == pytest.approx(log_cp10k[[x, y]].to_numpy(), rel=1e-5)
    assert points(right) == pytest.approx(imputed.to_df(layer="scdtl")[[x, y]].to_numpy())
    assert (left.get_title(), right.get_title()) == ("observed", "imputed")
    assert left.get_xlabel() == f"{x} (log1p CP10k)"
    assert right.get_ylabel() == f"{y} (log1p CP10k)"


@pytest.mark.parametrize(
    ("scale", "observed", "labels"),
    [
        ("normalized", lambda x, depth: x / depth * 1e4, ("CP10k", "CP10k")),
        ("counts", lambda x, depth: x, ("counts", "counts")),
        (
            "expected_log1p",
            lambda x, depth: np.log1p(x / depth * 1e4),
            ("log1p CP10k", "expected log1p CP10k"),
        ),
    ],
    ids=["normalized", "counts", "expected_log1p"],
)
def test_observed_counts_are_on_the_scale_of_the_run(scale, observed, labels, imputed, genes):
    cells = imputed.copy()
    cells.uns["scdtl"]["params"]["scale"] = scale
    ax = pl.observed_vs_imputed(cells, genes[0])
    counts = cells.to_df()
    expected = observed(counts[genes[0]].to_numpy(), counts.sum(axis=1).to_numpy())
    assert points(ax)[:, 0] == pytest.approx(expected, rel=1e-5)
    assert ax.get_xlabel() == f"observed ({labels[0]})"
    assert ax.get_ylabel() == f"imputed ({labels[1]})"


def test_counts_and_imputed_layer_may_be_dense_or_sparse(imputed, genes):
    cells = imputed.copy()
    cells.layers["dense"] = cells.X.toarray()
    cells.layers["csc"] = cells.X.tocsc()
    cells.layers["other"] = sparse.csr_matrix(cells.layers["scdtl"])
    cells.uns["other"] = cells.uns["scdtl"]
    expected = points(pl.observed_vs_imputed(imputed, genes[0]))
    for layer in ("dense", "csc"):
        for key in ("scdtl", "other"):
            ax = pl.observed_vs_imputed(cells, genes[0], layer=layer, key=key)
            assert points(ax) == pytest.approx(expected)


def test_counts_come_from_the_layer_of_the_run(imputed, genes):
    cells = imputed.copy()
    cells.layers["counts"] = cells.X
    cells.X = np.log1p(cells.X.toarray())
    cells.uns["scdtl"]["params"]["layer"] = "counts"
    expected = points(pl.observed_vs_imputed(imputed, genes[0]))
    assert points(pl.observed_vs_imputed(cells, genes[0])) == pytest.approx(expected)


def test_a_cell_without_counts_is_at_zero(imputed, genes):
    cells = imputed.copy()
    cells.X = cells.X.toarray()
    cells.X[0] = 0
    assert points(pl.observed_vs_imputed(cells, genes[0]))[0, 0] == 0


# Colours


def test_categories_have_a_legend_and_keep_their_cells(imputed, genes, log_cp10k):
    axes = pl.observed_vs_imputed(imputed, genes[:2], color="bulk_labels")
    (legend,) = axes[0].figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == list(imputed.obs["bulk_labels"].cat.categories)
    looks = set()
    for drawn in axes[0].collections:
        cells = imputed.obs["bulk_labels"] == drawn.get_label()
        assert np.asarray(drawn.get_offsets())[:, 0] == pytest.approx(
            log_cp10k.loc[cells, genes[0]].to_numpy(), rel=1e-5
        )
        colour = to_hex(drawn.get_facecolor()[0])
        looks.add((colour, drawn.get_paths()[0].vertices.tobytes()))
    assert len(looks) == len(labels) > 8  # more than there are colours


def test_cells_without_a_category_are_grey(imputed, genes):
    cells = imputed.copy()
    cells.obs["odd"] = cells.obs["odd"].map({True: "odd"})
    ax = pl.observed_vs_imputed(cells, genes[0], color="odd")
    drawn = {collection.get_label(): collection for collection in ax.collections}
    assert {name: len(found.get_offsets()) for name, found in drawn.items()} == {
        "none": 88,
        "odd": 87,
    }
    assert to_hex(drawn["none"].get_facecolor()[0]) == "#999999"


def test_true_and_false_are_categories(imputed, genes):
    ax = pl.observed_vs_imputed(imputed, genes[0], color="odd")
    (legend,) = ax.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["False", "True"]


def test_on_axes_of_the_user_the_legend_is_theirs(imputed, genes):
    figure, (left, right) = plt.subplots(1, 2)
    pl.observed_vs_imputed(imputed, genes[0], color="odd", ax=left)
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["False", "True"]
    assert not figure.legends


def test_observed_and_imputed_have_equal_axes(imputed, genes):
    ax = pl.observed_vs_imputed(imputed, genes[0])
    assert ax.get_xlim() == ax.get_ylim()
    observed, shown = pl.gene_scatter(imputed, *genes[:2])
    assert (observed.get_xlim(), observed.get_ylim()) == (shown.get_xlim(), shown.get_ylim())
    assert shown.dataLim.xmax <= shown.get_xlim()[1]
    assert observed.dataLim.ymax <= observed.get_ylim()[1]


def test_numbers_have_a_colour_bar(imputed, genes):
    cells = imputed.copy()
    cells.obs.loc[cells.obs_names[0], "depth"] = np.nan
    axes = pl.gene_scatter(cells, *genes[:2], color="depth")
    for ax in axes:
        assert np.array_equal(
            np.ma.filled(ax.collections[0].get_array(), np.nan),
            cells.obs["depth"].to_numpy(),
            equal_nan=True,
        )
        assert len(points(ax)) == cells.n_obs
    assert [ax.get_ylabel() for ax in axes[0].figure.axes[2:]] == ["depth"]


def test_a_gene_colours_by_what_its_panel_shows(imputed, genes, log_cp10k):
    x, y, gene = genes[:3]
    axes = pl.gene_scatter(imputed, x, y, color=gene)
    shown = (log_cp10k[gene], imputed.to_df(layer="scdtl")[gene])
    for ax, values in zip(axes, shown, strict=True):
        drawn = ax.collections[0]
        assert np.asarray(drawn.get_array()) == pytest.approx(values.to_numpy(), rel=1e-5)
        # One colour bar is for both panels.
        assert drawn.get_clim() == pytest.approx((0, max(map(max, shown))), rel=1e-5)
    assert [ax.get_ylabel() for ax in axes[0].figure.axes[2:]] == [f"{gene} (log1p CP10k)"]
    for ax in pl.observed_vs_imputed(imputed, genes[:2], color=gene):
        assert np.asarray(ax.collections[0].get_array()) == pytest.approx(shown[1].to_numpy())


def test_a_column_of_obs_comes_before_a_gene_of_its_name(imputed, genes):
    cells = imputed.copy()
    cells.obs[genes[2]] = cells.obs["depth"]
    ax = pl.observed_vs_imputed(cells, genes[0], color=genes[2])
    assert np.array_equal(ax.collections[0].get_array(), cells.obs["depth"])


def drawn_colours(ax):
    return {drawn.get_label(): to_hex(drawn.get_facecolor()[0]) for drawn in ax.collections}


@pytest.mark.parametrize("column", ["bulk_labels", "odd"])
def test_categories_have_the_colours_that_scanpy_gave_them(column, imputed, genes):
    cells = imputed.copy()
    cells.obsm["X_pca"] = np.zeros((cells.n_obs, 2))
    sc.pl.pca(cells, color=column, show=False)
    labels = sorted(cells.obs[column].astype(str).unique())
    expected = dict(zip(labels, map(to_hex, cells.uns[f"{column}_colors"]), strict=True))
    ax = pl.observed_vs_imputed(cells, genes[0], color=column)
    assert drawn_colours(ax) == expected
    # They are told apart by colour, so that the marker need not tell.
    assert len({drawn.get_paths()[0].vertices.tobytes() for drawn in ax.collections}) == 1


@pytest.mark.parametrize("palette", [["red"], ["no colour"] * 9, "viridis", {"odd": "red"}, None])
def test_a_palette_that_does_not_fit_is_left_aside(palette, imputed, genes):
    expected = drawn_colours(pl.observed_vs_imputed(imputed, genes[0], color="bulk_labels"))
    cells = imputed.copy()
    cells.uns["bulk_labels_colors"] = palette
    ax = pl.observed_vs_imputed(cells, genes[0], color="bulk_labels")
    assert drawn_colours(ax) == expected


@pytest.mark.parametrize("n_categories", [2, 12, 13, 40])
@pytest.mark.parametrize("length", [1, 30])
def test_the_legend_lies_below_the_panels_and_within_the_figure(
    n_categories, length, imputed, genes
):
    cells = imputed.copy()
    names = [f"{number:02}".ljust(length, "x") for number in range(n_categories)]
    cells.obs["kind"] = np.resize(names, cells.n_obs)
    right = pl.gene_scatter(cells, *genes[:2], color="kind")[1]
    figure = right.figure
    figure.canvas.draw()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    box = legend.get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    panel = right.get_window_extent()
    assert box.y1 <= panel.y0
    assert min(panel.width, panel.height) > 0.6 * figure.dpi * 3.2  # the panel keeps its size


@pytest.mark.parametrize("values", [np.nan, 3.0, [np.inf, 1.0, 2.0]], ids=str)
def test_numbers_without_a_range_are_drawn(values, imputed, genes):
    cells = imputed.copy()
    cells.obs["number"] = np.resize(values, cells.n_obs)
    ax = pl.observed_vs_imputed(cells, genes[0], color="number")
    ax.figure.canvas.draw()
    assert len(points(ax)) == cells.n_obs


# Errors


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"genes": ["MARTIAN"]}, KeyError, "1 of 1 genes are not known: 'MARTIAN'"),
        ({"genes": []}, ValueError, "genes is empty"),
        (
            {"color": "nothing"},
            KeyError,
            "'nothing' is not a column .* bulk_labels, depth, odd.* nor a gene .*look like '",
        ),
        ({"color": ["bulk_labels"]}, TypeError, "color must be the name of one gene or column"),
        ({"genes": [], "color": "CD79A"}, ValueError, "genes is empty"),
        ({"layer": "nowhere"}, KeyError, "layer 'nowhere' is not in adata.layers"),
        ({"layer": "scdtl"}, ValueError, "not integers.*name it as layer="),
        ({"ax": "an axes"}, ValueError, "ax is for one gene"),
    ],
    ids=["gene", "no gene", "colour", "colours", "only a colour", "layer", "no counts", "ax"],
)
def test_wrong_arguments_are_named_before_anything_is_drawn(
    options, error, message, imputed, genes
):
    with pytest.raises(error, match=message):
        pl.observed_vs_imputed(imputed, **({"genes": genes} | options))
    assert plt.get_fignums() == []


def test_what_is_gone_or_was_never_written_is_named(imputed, genes):
    cells = imputed.copy()
    cells.uns["scdtl"]["params"]["genes"] = np.array(genes[:1])
    pl.observed_vs_imputed(cells, genes[0])
    plt.close("all")
    with pytest.raises(KeyError, match=f"'{genes[1]}' was not written by scdtl.pp.impute"):
        pl.gene_scatter(cells, *genes[:2])
    with pytest.raises(KeyError, match=f"'{genes[1]}' was not written by scdtl.pp.impute"):
        pl.observed_vs_imputed(cells, genes[0], color=genes[1])
    del cells.layers["scdtl"]
    with pytest.raises(KeyError, match="'scdtl' is no longer in adata.layers"):
        pl.observed_vs_imputed(cells, genes[0])
    cells = imputed.copy()
    cells.X = None
    with pytest.raises(ValueError, match=r"adata\.X is None"):
        pl.observed_vs_imputed(cells, genes[0])
    assert plt.get_fignums() == []
