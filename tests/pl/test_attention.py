"""Tests of the figure of attention."""

from __future__ import annotations

import pytest
from matplotlib import pyplot as plt

from scdtl import pl


def bars(ax, branch):
    """Length of each gene's bar, by gene."""
    container = next(bars for bars in ax.containers if bars.get_label() == branch)
    names = [label.get_text() for label in ax.get_yticklabels()]
    return dict(zip(names, (bar.get_width() for bar in container), strict=True))


def test_bars_are_the_attention_of_the_genes_asked_for(model):
    shares = model.get_attention()
    genes = list(shares.index[[7, 2, 40]])
    ax = pl.attention(model, genes=genes)
    for branch, column in (("DAE", "dae"), ("U-Net", "unet")):
        found = bars(ax, branch)
        assert list(found) == genes
        assert list(found.values()) == pytest.approx(shares.loc[genes, column].tolist())
    dae, unet = ax.containers
    assert [bar.get_x() for bar in unet] == pytest.approx([bar.get_width() for bar in dae])
    mean = 100 * shares["unet"].mean()
    assert ax.get_title() == f"U-Net's mean share over all {len(shares)} genes: {mean:.1f} %"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["DAE", "U-Net"]


def test_without_genes_those_of_the_unet_are_drawn(model):
    ranked = model.get_attention()["unet"].sort_values(ascending=False)
    assert list(bars(pl.attention(model, n_genes=5), "U-Net")) == list(ranked.index[:5])
    assert len(bars(pl.attention(model), "U-Net")) == 20


def test_wrong_arguments_are_named_before_anything_is_drawn(model, imputed):
    with pytest.raises(TypeError, match=r"not AnnData: run model = scdtl.pp.impute"):
        pl.attention(imputed)
    with pytest.raises(KeyError, match="'MARTIAN'"):
        pl.attention(model, genes=["MARTIAN"])
    with pytest.raises(ValueError, match="n_genes must be at least 1"):
        pl.attention(model, n_genes=0)
    with pytest.raises(ValueError, match="genes is empty"):
        pl.attention(model, genes=[])
    assert plt.get_fignums() == []
