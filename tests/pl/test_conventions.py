"""What all figures share: axes, files, windows, and data that stay as they are."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from scdtl import pl

ON_ONE_PANEL = sorted(set(pl.__all__) - {"gene_scatter"})


@pytest.mark.parametrize("name", pl.__all__)
def test_a_figure_is_saved_as_a_png_and_its_axes_are_returned(name, draw, tmp_path):
    found = draw(name, save=tmp_path / "figure.png")
    for ax in found if isinstance(found, list) else [found]:
        assert isinstance(ax, Axes)
        assert ax.get_xlabel()
    pixels = image.imread(tmp_path / "figure.png")
    assert min(pixels.shape[:2]) > 200
    assert pixels[..., :3].std() > 0.02
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("name", ON_ONE_PANEL)
def test_axes_that_are_given_are_drawn_on(name, draw):
    _, axes = plt.subplots(1, 2)
    assert draw(name, ax=axes[1]) is axes[1]
    assert axes[1].has_data()
    assert not axes[0].has_data()
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("name", pl.__all__)
def test_figures_are_shown_when_asked_for_or_interactive(name, draw, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(1))
    draw(name)
    draw(name, show=False)
    assert shown == []
    draw(name, show=True)
    assert shown == [1]
    with plt.ion():
        draw(name)
        draw(name, show=False)
    assert shown == [1, 1]


@pytest.mark.parametrize("name", pl.__all__)
def test_a_file_that_cannot_be_written_leaves_no_figure_open(name, draw, tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        draw(name, save=tmp_path / "nowhere" / "figure.png")
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", pl.__all__)
def test_scanpys_save_without_a_name_is_refused_with_what_to_write(name, draw):
    with pytest.raises(TypeError, match="save=True names no file: give one, as save='figure.png'"):
        draw(name, save=True)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", pl.__all__)
def test_figures_can_be_read_on_a_dark_background(name, draw):
    with plt.style.context("dark_background"):
        found = draw(name)
        ax = found[0] if isinstance(found, list) else found
        lines = [line for line in ax.lines if line.get_linestyle() != "None"]
        inks = [line.get_color() for line in lines] + [text.get_color() for text in ax.texts]
        if ax.get_legend():
            inks += [text.get_color() for text in ax.get_legend().get_texts()]
    assert all(sum(to_rgb(colour)) > 0.8 for colour in inks), inks


def test_adata_stays_as_it_is(imputed, draw):
    before = imputed.copy()
    for name in pl.__all__:
        draw(name)
    pl.gene_scatter(imputed, *imputed.var_names[:2], color="bulk_labels")
    pd.testing.assert_frame_equal(imputed.obs, before.obs)
    pd.testing.assert_frame_equal(imputed.var, before.var)
    assert (imputed.X != before.X).nnz == 0
    assert np.array_equal(imputed.layers["scdtl"], before.layers["scdtl"])
    assert set(imputed.uns) == set(before.uns)
    assert set(imputed.layers) == set(before.layers)


def test_importing_the_figures_loads_nothing_heavy():
    code = (
        "import sys, scdtl\n"
        "scdtl.pl.history\n"
        "heavy = {'torch', 'scvi', 'scanpy', 'anndata', 'pandas', 'scipy', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    "figure",
    [
        pl.history,
        pl.trust,
        pl.dropout,
        lambda adata, **options: pl.observed_vs_imputed(adata, adata.var_names[0], **options),
        lambda adata, **options: pl.gene_scatter(adata, *adata.var_names[:2], **options),
    ],
    ids=["history", "trust", "dropout", "observed_vs_imputed", "gene_scatter"],
)
def test_missing_results_are_named_with_what_to_do(figure, adata):
    with pytest.raises(KeyError, match="no results named 'scdtl' in adata.uns: run scdtl.pp.imp"):
        figure(adata)
    adata.uns["neighbors"] = {"params": {}}
    with pytest.raises(KeyError, match=r"\['neighbors'\] did not come from scdtl.pp.impute"):
        figure(adata, key="neighbors")
    assert plt.get_fignums() == []
