"""Evaluation: what evaluate() found, as tables, words, a plot and a page."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scdtl._files import written_whole
from scdtl.tl._measures import held_out_of
from scdtl.tl._verdict import main_method, verdict

if TYPE_CHECKING:
    import os

    import pandas as pd
    from matplotlib.axes import Axes

    from scdtl.tl._measures import HeldOut


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Scores of imputation methods on held-out data, as returned by :func:`scdtl.tl.evaluate`.

    Parameters
    ----------
    scores
        One row per method, means over the splits, and ``seconds`` of one split. NaN where there
        is nothing to score or, for correlations, all predictions are equal.

        For UMIs: ``poisson_score`` (:func:`scdtl.metrics.poisson_score`: 0 no denoising, 1 the
        held-out molecules themselves); ``gene_deviance_explained``, mean over genes
        (:func:`scdtl.metrics.gene_deviance_explained`: 0 the mean profile); ``mse_score``, 1 - MSE
        / MSE of no denoising on log1p of counts per 10,000, which favours rates sharper than the
        true ones, as the logarithm of few molecules lies below that of their mean; ``gene_r`` and
        ``cell_r``, medians over genes and cells of the Pearson correlation on the same scale.
        Means and medians over genes take those with at least 20 held-out molecules.

        For reads, on log1p of counts per 10,000 at the held-out entries: ``r`` and ``rmse``,
        Pearson correlation and root mean squared error; ``r_nonzero`` and ``rmse_nonzero``, the
        same at those that are not zero; ``dropout_auc``, how well these are distinguished from
        zeros (area under the ROC curve); ``gene_error_explained``, mean over genes of the share of
        the squared error that is explained beyond the mean of the gene's logarithms.
    genes
        One row per gene: for each method the deviance (for reads, the squared error) explained,
        mean over the splits, NaN if fewer than 20 molecules (for reads, 5 non-zero entries) were
        held out in one of them; ``n_held_out``, their number per split; ``mean_count``, the gene's
        counts per cell in the counts given.
    settings
        The arguments of the call and the size of the data.
    packages
        Packages of the methods, whose versions the report states.

    Examples
    --------
    >>> import scdtl
    >>> adata = scdtl.datasets.toy()
    >>> evaluation = scdtl.tl.evaluate(adata, methods=["observed", "mean profile"])
    >>> list(evaluation.scores.index)
    ['observed', 'mean profile', 'mean profile + posterior']
    """

    scores: pd.DataFrame
    genes: pd.DataFrame
    settings: dict[str, Any]
    packages: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> str:
        """What the numbers say, in plain words."""
        return verdict(self.scores, self.genes)

    @property
    def main_method(self) -> str:
        """The method that verdict and figures are about, which is scdtl or else the best one."""
        return main_method(self.scores)

    @property
    def held_out(self) -> HeldOut:
        """What was held out, and how words and figures describe its scores."""
        return held_out_of(self.scores)

    def plot(
        self,
        ax: Axes | None = None,
        show: bool | None = None,
        save: str | os.PathLike[str] | None = None,
    ) -> Axes:
        """Draw the main score of each method as a bar: the Poisson score, or r for reads.

        Parameters
        ----------
        ax
            Where to draw; ``None`` for a new figure.
        show
            Show the figure; ``None`` does so in interactive sessions only.
        save
            File to save the figure to.

        Returns
        -------
        The axes.

        Examples
        --------
        >>> import scdtl
        >>> adata = scdtl.datasets.toy()
        >>> evaluation = scdtl.tl.evaluate(adata, methods=["observed", "mean profile"])
        >>> axes = evaluation.plot(show=False)
        """
        from scdtl.pl import evaluate

        return evaluate(self, ax=ax, show=show, save=save)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write one self-contained page: verdict, table, figures, settings and versions.

        Parameters
        ----------
        path
            File to write, completely or not at all; an existing one is replaced.

        Examples
        --------
        >>> import scdtl
        >>> adata = scdtl.datasets.toy()
        >>> scdtl.tl.evaluate(adata).to_html("evaluation.html")  # doctest: +SKIP
        """
        from scdtl.tl._report import page

        with written_whole(Path(path)) as file:
            file.write_text(page(self), encoding="utf-8")

    def __repr__(self) -> str:
        return f"Evaluation on {self._data}\n\n{table(self.scores)}\n\n{self.verdict}"

    def _repr_html_(self) -> str:
        return (
            f"<p><b>Evaluation</b> on {html.escape(self._data)}</p>"
            f"{self.scores.to_html(float_format='{:.3f}'.format, na_rep='–')}"
            f"<p>{html.escape(self.verdict)}</p>"
        )

    @property
    def _data(self) -> str:
        n_splits = self.settings["n_splits"]
        return (
            f"{self.settings['n_cells']:,} cells × {self.settings['n_genes']:,} genes, "
            f"{100 * self.settings['held_out_fraction']:g} % of the "
            f"{self.held_out.unit} held out, "
            f"{n_splits} split{'s' if n_splits > 1 else ''}"
        )


def table(scores: pd.DataFrame) -> str:
    """The scores as text."""
    return scores.rename_axis(None).to_string(float_format="{:.3f}".format, na_rep="-")
