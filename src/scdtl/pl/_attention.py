"""Attention: the weight of each branch of the network for each gene."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scdtl.pl._axes import BLUE, ORANGE, one_panel
from scdtl.pl._imputed import columns_of

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from scdtl.model import SCDTL


def attention(
    model: SCDTL,
    *,
    genes: Sequence[str] | None = None,
    n_genes: int = 20,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw how much the DAE, which starts from bulk, and the U-Net contribute to each gene.

    Bars are means over cells of the cross-channel attention (:meth:`scdtl.SCDTL.get_attention`);
    the two branches add up to 1.

    Parameters
    ----------
    model
        Trained model, for example from :func:`scdtl.pp.impute` with ``return_model=True``.
    genes
        Genes to draw; ``None`` for those to which the U-Net contributes most.
    n_genes
        How many of these to draw.
    ax
        Where to draw; ``None`` for a new figure.
    show
        Show the figure; ``None`` does so in interactive sessions only.
    save
        File to save the figure to.

    Returns
    -------
    The axes.

    Raises
    ------
    TypeError
        If it is not a trained model.
    KeyError
        If a gene is not known to the model.
    ValueError
        If there is no gene to draw.

    Examples
    --------
    >>> import scdtl
    >>> adata = scdtl.datasets.toy()
    >>> model = scdtl.pp.impute(adata, bulk=None, max_epochs=1, verbose=False, return_model=True)
    >>> axes = scdtl.pl.attention(model, n_genes=10, show=False)
    """
    from scdtl.model import SCDTL

    if not isinstance(model, SCDTL):
        raise TypeError(
            f"model must be a trained scdtl.SCDTL, not {type(model).__name__}: run model = "
            "scdtl.pp.impute(adata, return_model=True) first."
        )
    if n_genes < 1:
        raise ValueError(f"n_genes must be at least 1, not {n_genes}.")
    shares = model.get_attention()
    chosen = (
        shares.nlargest(n_genes, "unet")
        if genes is None
        else shares.iloc[columns_of(shares.index, genes)]
    )
    mean = shares["unet"].mean()
    with one_panel(ax, show, save, size=(6, 1.8 + 0.22 * len(chosen))) as ax:
        names = chosen.index.astype(str)
        ax.barh(names, chosen["dae"], color=BLUE, label="DAE")
        ax.barh(names, chosen["unet"], left=chosen["dae"], color=ORANGE, label="U-Net")
        ax.margins(y=0.02)
        ax.invert_yaxis()
        ax.set(
            title=f"U-Net's mean share over all {len(shares):,} genes: {100 * mean:.1f} %",
            xlabel="attention, mean over cells",
            xlim=(0, 1),
        )
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax
