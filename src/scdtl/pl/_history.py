"""Training curves, and where held-out data were predicted best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scdtl._constants import DEFAULT_KEY
from scdtl.pl._axes import BLUE, ORANGE, one_panel
from scdtl.pl._imputed import results

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from anndata import AnnData
    from matplotlib.axes import Axes


def history(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw the losses of training and of held-out data per epoch.

    Training ends at a validation where held-out data are predicted hardly any better. The model
    keeps the weights of the best validation, which is marked. The training loss also includes the
    U-Net on its own and the distance to bulk, so it has a separate axis on the right.

    Parameters
    ----------
    adata
        Imputed by :func:`scdtl.pp.impute`.
    key
        Name of the results, its ``key_added``.
    ax
        Where to draw; ``None`` for a new figure.
    show
        Show the figure; ``None`` does so in interactive sessions only.
    save
        File to save the figure to.

    Returns
    -------
    The axes with the validation loss.

    Raises
    ------
    KeyError
        If there are no results of that name.
    ValueError
        If nothing was trained.

    Examples
    --------
    >>> import scdtl
    >>> adata = scdtl.datasets.toy()
    >>> scdtl.pp.impute(adata, bulk=None, max_epochs=20, verbose=False)
    >>> axes = scdtl.pl.history(adata, show=False)
    """
    from matplotlib.ticker import MaxNLocator

    losses: Mapping[str, np.ndarray] = results(adata, key)["history"]
    if "train_loss" not in losses:
        raise ValueError(
            f"the results named {key!r} have no training history, as after max_epochs=0: run "
            "scdtl.pp.impute with training."
        )
    train = np.asarray(losses["train_loss"])
    validation = np.asarray(losses.get("validation_loss", []))
    with one_panel(ax, show, save) as ax:
        right = ax.twinx()
        right.plot(1 + np.arange(len(train)), train, color=ORANGE, linestyle="--")
        right.set_ylabel("training loss (dashed)", color=ORANGE)
        right.spines["top"].set_visible(False)
        if np.isfinite(validation).any():
            _draw_validation(ax, validation, len(train))
        ax.set(title="Training", xlabel="epoch")
        ax.set_ylabel("loss of held-out data", color=BLUE)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.spines["top"].set_visible(False)
        ax.set_zorder(right.get_zorder() + 1)
        ax.patch.set_visible(False)
    return ax


def _draw_validation(ax: Axes, losses: np.ndarray, n_epochs: int) -> None:
    # Where validation is not each epoch, the history has its values with or without gaps (NaN).
    epochs = n_epochs // len(losses) * (1 + np.arange(len(losses)))
    known = np.isfinite(losses)
    epochs, losses = epochs[known], losses[known]
    ax.plot(epochs, losses, color=BLUE, marker=".")
    best = losses.argmin()
    ax.plot(
        epochs[best],
        losses[best],
        color=BLUE,
        marker="o",
        markersize=9,
        markerfacecolor="none",
        linestyle="none",
        label=f"best: epoch {epochs[best]}, whose weights are kept",
    )
    ax.legend(frameon=False)
