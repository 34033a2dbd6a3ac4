"""Where figures are drawn: new axes or the user's own, saved and shown alike everywhere."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from matplotlib.axes import Axes

# Of Okabe and Ito: apart for every kind of colour vision
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY_BLUE, YELLOW = "#CC79A7", "#56B4E9", "#F0E442"
GREY = "#999999"

N_COLUMNS = 2  # so that letters can still be read where a phone shrinks the figure
PANEL_SIZE = 3.2


@contextmanager
def one_panel(
    ax: Axes | None,
    show: bool | None,
    save: str | os.PathLike[str] | None,
    size: tuple[float, float] = (6, 4),
) -> Iterator[Axes]:
    """Give axes to draw on; save and show the figure at the end, close a new one on an error."""
    _check_save(save)
    if ax is not None:
        yield ax
        _finish(ax, show, save)
        return
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=size, layout="constrained")
    try:
        yield ax
        _finish(ax, show, save)
    except BaseException:
        plt.close(figure)
        raise


def ink(ax: Axes) -> Any:
    """Colour of the axes, which a line can be seen in on dark backgrounds as well."""
    return ax.spines["bottom"].get_edgecolor()


@contextmanager
def panels(
    n_panels: int,
    show: bool | None,
    save: str | os.PathLike[str] | None,
    beside: tuple[float, float] = (0, 0),
) -> Iterator[list[Axes]]:
    """Give the panels of a new figure, row by row, with room to the right and below for a legend.

    The rest is as in :func:`one_panel`.
    """
    _check_save(save)
    from matplotlib import pyplot as plt

    n_columns = min(n_panels, N_COLUMNS)
    n_rows = -(-n_panels // n_columns)
    size = (PANEL_SIZE * n_columns + beside[0], PANEL_SIZE * n_rows + beside[1])
    figure = plt.figure(figsize=size, layout="constrained")
    try:
        axes = [figure.add_subplot(n_rows, n_columns, 1 + i) for i in range(n_panels)]
        yield axes
        _finish(axes[0], show, save)
    except BaseException:
        plt.close(figure)
        raise


def _check_save(save: object) -> None:
    if isinstance(save, bool):  # scanpy takes True for a name of its own choice
        raise TypeError(f"save={save} names no file: give one, as save='figure.png'.")


def _finish(ax: Axes, show: bool | None, save: str | os.PathLike[str] | None) -> None:
    import matplotlib as mpl

    if save is not None:
        ax.figure.figure.savefig(save, dpi=150, bbox_inches="tight")
    if mpl.is_interactive() if show is None else show:
        from matplotlib import pyplot as plt

        plt.show()
