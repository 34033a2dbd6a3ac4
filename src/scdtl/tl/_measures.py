"""What is measured: the columns of the tables, and how words and figures describe them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scdtl.tl._entries import MIN_POSITIVE
from scdtl.tl._scores import MIN_MOLECULES

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd

MEAN_PROFILE = "mean profile"
WITH_POSTERIOR = " + posterior"
"""Added to the name of a method whose rates got a posterior."""


class Measure(NamedTuple):
    """A column of the scores."""

    column: str
    name: str
    about: str
    in_percent: bool = False
    lower_is_better: bool = False

    def ranked(self, scores: pd.DataFrame) -> pd.Series:
        """The numbers as they are shown, the best first; methods without one are left out."""
        known = scores[self.column].dropna()
        known = known.sort_values(ascending=self.lower_is_better, kind="stable")
        return (100 * known).round(1) if self.in_percent else known.round(3)

    def shown(self, number: float) -> str:
        """A number of :meth:`ranked` as text."""
        return f"{number:.1f} %" if self.in_percent else f"{number:.3f}"

    def lead(self, first: float, second: float) -> float:
        """By how much the first number is better."""
        lead = round(first - second, 3)
        return -lead if self.lower_is_better else lead


class HeldOut(NamedTuple):
    """What is held out, and how it is described."""

    unit: str
    measures: tuple[Measure, ...]
    """In the order of the columns; the first one is the main one."""
    means: str
    """What the main one means."""
    enough: str
    """What a gene needs to be scored."""
    gene_score: str
    axis: str
    """What a figure calls the main one."""
    note: str


_CP10K = "log1p(counts per 10,000)"

MOLECULES = HeldOut(
    unit="molecules",
    measures=(
        Measure(
            "poisson_score",
            "Poisson score",
            "log-likelihood of the held-out molecules, pooled: 0 is no denoising, 1 the held-out "
            "molecules themselves, which counting noise puts out of reach",
            in_percent=True,
        ),
        Measure(
            "gene_deviance_explained",
            "gene deviance explained",
            "share of a gene's deviance explained beyond the mean profile, mean over genes: 0 is "
            "no better than the mean profile",
        ),
        Measure(
            "mse_score",
            "MSE score",
            f"reduction of the mean squared error of {_CP10K} relative to no denoising; the "
            "logarithm of few molecules lies below that of their mean, which favours rates "
            "sharper than the true ones; the true rates may score below 0",
        ),
        Measure(
            "gene_r",
            "gene r",
            f"median over genes of the Pearson correlation over cells, {_CP10K}",
        ),
        Measure(
            "cell_r",
            "cell r",
            f"median over cells of the Pearson correlation over genes, {_CP10K}",
        ),
    ),
    means="It is the likelihood of molecules that no method saw: 0 % is no denoising, 100 % is "
    "the held-out molecules themselves, which counting noise puts out of reach.",
    enough=f"at least {MIN_MOLECULES} held out",
    gene_score="deviance explained",
    axis="Poisson score (0 no denoising)",
    note="Correlations are with the few held-out molecules, and therefore low even for the "
    f"true expression. “{WITH_POSTERIOR.strip()}”: the method's rates, corrected by the cell's "
    "own counts as scdtl's are.",
)
ENTRIES = HeldOut(
    unit="entries",
    measures=(
        Measure("r", "correlation r", f"Pearson correlation at held-out entries, {_CP10K}"),
        Measure(
            "rmse",
            "RMSE",
            f"root mean squared error at held-out entries, {_CP10K}: lower is better",
            lower_is_better=True,
        ),
        Measure("r_nonzero", "r of non-zeros", "r at held-out entries that are not zero"),
        Measure(
            "rmse_nonzero",
            "RMSE of non-zeros",
            "rmse at held-out entries that are not zero: lower is better",
            lower_is_better=True,
        ),
        Measure(
            "dropout_auc",
            "dropout AUC",
            "area under the ROC curve: how well held-out non-zero entries are distinguished "
            "from zeros; 0.5 is chance level",
        ),
        Measure(
            "gene_error_explained",
            "gene error explained",
            "share of a gene's squared error explained beyond the mean of its logarithms, mean "
            "over genes: 0 is no better than that mean",
        ),
    ),
    means="It compares predicted and true log1p of counts per 10,000 at entries that no method "
    "saw.",
    enough=f"at least {MIN_POSITIVE} held out that are not zero",
    gene_score="squared error explained",
    axis="correlation r with held-out entries",
    note="The mean profile is the mean of each gene's logarithms.",
)


def held_out_of(scores: pd.DataFrame) -> HeldOut:
    """What was held out, by the columns of the scores."""
    return MOLECULES if MOLECULES.measures[0].column in scores else ENTRIES


def floor_of(methods: Collection[str]) -> str:
    """The baseline: each gene's mean, with the posterior if it is there; empty for none."""
    floors = (MEAN_PROFILE + WITH_POSTERIOR, MEAN_PROFILE)
    return next((name for name in floors if name in methods), "")
