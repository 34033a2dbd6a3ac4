"""The verdict: the scores in plain words, every number taken from the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scdtl.tl._scores import MIN_MOLECULES

if TYPE_CHECKING:
    import pandas as pd

MEAN_PROFILE = "mean profile"


def verdict(scores: pd.DataFrame, genes: pd.DataFrame) -> str:
    """Say how good scdtl is, for how many genes it is worse than the mean, and who is best.

    Parameters
    ----------
    scores, genes
        Tables of an :class:`scdtl.tl.Evaluation`.

    Examples
    --------
    >>> import pandas as pd
    >>> from scdtl.tl._verdict import verdict
    >>> scores = pd.DataFrame({"poisson_score": [0.5, 0.6]}, index=["mean profile", "scdtl"])
    >>> genes = pd.DataFrame({"mean profile": [0.0, 0.0], "scdtl": [0.2, -0.1]})
    >>> verdict(scores, genes).split(". ")[-1]
    'Best Poisson score: scdtl (60.0 %), before mean profile (50.0 %).'
    """
    known = scores["poisson_score"].dropna().sort_values(ascending=False, kind="stable")
    points = (100 * known).round(1)  # differences are those of the numbers that are shown
    if known.empty:
        return "No verdict: the data are too few for a Poisson score."
    name = main_method(scores)
    sentences = []
    if name in known:
        sentences.append(_of_score(name, points))
        if name != MEAN_PROFILE:
            sentences.append(_of_genes(name, genes[name]))
    sentences.append(_of_best(list(known.index), points))
    if {"scdtl", MEAN_PROFILE} <= set(known.index) and known["scdtl"] <= known[MEAN_PROFILE]:
        sentences.append(
            "On these data scdtl adds nothing beyond the mean profile: stay with the raw counts."
        )
    return " ".join(sentences)


def main_method(scores: pd.DataFrame) -> str:
    """The method that verdict and figure are about: scdtl, or else the best one.

    Parameters
    ----------
    scores
        Table of an :class:`scdtl.tl.Evaluation`.
    """
    if "scdtl" in scores.index or scores["poisson_score"].isna().all():
        return "scdtl" if "scdtl" in scores.index else str(scores.index[0])
    return str(scores["poisson_score"].idxmax())


def _of_score(name: str, points: pd.Series) -> str:
    start = f"The Poisson score of {name} is {points[name]:.1f} %"
    if name != MEAN_PROFILE and MEAN_PROFILE in points:
        ahead = points[name] - points[MEAN_PROFILE]
        more = "more" if ahead >= 0 else "less"
        start += f", {abs(ahead):.1f} points {more} than that of the mean profile"
    return (
        f"{start} (likelihood of molecules that no method saw: 0 % is no denoising, 100 % these "
        "molecules themselves, which counting noise keeps out of reach)."
    )


def _of_genes(name: str, explained: pd.Series) -> str:
    scored = int(explained.notna().sum())
    if not scored:
        return f"No gene has {MIN_MOLECULES} held-out molecules, so none is scored on its own."
    worse = int((explained < 0).sum())
    return (
        f"{worse:,} of {scored:,} genes with enough molecules (at least {MIN_MOLECULES} held out) "
        f"are predicted worse by {name} than by their mean."
    )


def _of_best(ranked: list[str], points: pd.Series) -> str:
    if len(ranked) == 1:
        return f"No other method was compared with {ranked[0]}."
    first, second = ranked[:2]
    return (
        f"Best Poisson score: {first} ({points[first]:.1f} %), "
        f"before {second} ({points[second]:.1f} %)."
    )
