"""Tables of the benchmarks that score entries: masked or hidden ones, and dropouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _tables import LINE, METHODS, as_markdown, as_texts, named, side_by_side

if TYPE_CHECKING:
    import pandas as pd

MASKED_SCORES = {
    "rmse": "RMSE at masked entries",
    "l1": "L1 at masked entries",
    "pearson": "Pearson r at masked entries",
    "auc": "AUC of masked entries among zeros",
    "false_fills": "True zeros filled where half of the masked entries are found",
    "article_rmse": "RMSE over the matrix, as in the article (flatters)",
    "article_pearson": "Pearson r over the matrix, as in the article (flatters)",
}
HIDDEN_SCORES = {
    "rmse": "RMSE at hidden entries",
    "r": "Pearson r at hidden entries",
    "rmse_nonzero": "RMSE at hidden entries that are not zero",
    "r_nonzero": "Pearson r at hidden entries that are not zero",
    "auc": "AUC of the hidden entries that are not zero",
}
PAIR_SCORES = {
    "r": "Pearson r with the deep counts",
    "rmse": "RMSE to the deep counts",
    "auc": "AUC of dropouts among zeros",
    "false_fills": "True zeros filled where half of the dropouts are found",
}
LOWEST = ("rmse", "l1", "rmse_nonzero", "false_fills", "article_rmse")


def masking(rows: pd.DataFrame) -> str:
    """Scores of `masking.py` at each share of masked entries, mean over data sets."""
    parts = []
    for score, name in MASKED_SCORES.items():
        measured = _measured(rows, score)
        by_dataset = measured.groupby([*LINE, "masked", "dataset"], sort=False)[score].mean()
        by_dataset = by_dataset.unstack("dataset")
        # A method that failed on a data set has no mean to compare.
        means = by_dataset.mean(axis=1, skipna=False).unstack("masked").sort_index(axis=1)
        means = means.loc[
            list(measured[LINE].drop_duplicates().itertuples(index=False, name=None))
        ]
        texts = as_texts(means, lowest=score in LOWEST)
        texts.columns = [f"{share} % masked" for share in texts]
        parts += [f"**{name}**", as_markdown(texts)]
    return "\n\n".join(parts) + "\n"


def reads(rows: pd.DataFrame) -> str:
    """Scores and trusted genes of `reads.py`."""
    rows = named(rows)
    hidden, pairs, tpm = (rows[rows["part"] == part] for part in ("hidden", "pairs", "tpm"))
    parts = []
    for some, scores in ((hidden, HIDDEN_SCORES), (pairs, PAIR_SCORES)):
        for score, name in scores.items() if len(some) else ():
            means = _with_mean(_measured(some, score), score, LINE)
            parts += [f"**{name}**", as_markdown(as_texts(means, lowest=score in LOWEST))]
    if "trusted" in hidden and hidden["trusted"].any():
        parts += ["**Genes called trusted, at hidden entries**", as_markdown(_trusted(hidden))]
    if len(tpm):
        parts += ["**What scdtl says of itself**", as_markdown(_own_score(tpm))]
    return "\n\n".join(parts) + "\n"


def _measured(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Rows of lines that have a score anywhere."""
    return rows[rows.groupby(LINE)[score].transform("count") > 0]


def _with_mean(rows: pd.DataFrame, score: str, index: list[str]) -> pd.DataFrame:
    """Means over seeds, data sets side by side, and their mean where a line has them all."""
    means = side_by_side(rows, score, index)
    means["mean"] = means.mean(axis=1, skipna=False)
    return means


def _trusted(rows: pd.DataFrame) -> pd.DataFrame:
    """Trusted genes of scdtl, and how many of them are better than their mean."""
    rows = rows[(rows["line"] == "other genes alone") & (rows["method"] != "scdtl-umi")]
    numbers, shares = ["genes", "trusted", "judged"], ["better_if_trusted", "better_if_not"]
    means = rows.groupby(["method", "dataset"], sort=False)[numbers + shares].mean()
    for method, of_method in means.groupby(level="method", sort=False):
        means.loc[(method, "mean"), :] = of_method.mean()
    texts = means[numbers].map("{:.0f}".format)
    texts["better than the mean"] = means["better_if_trusted"].map("{:.1%}".format)
    texts["not trusted: better"] = means["better_if_not"].map("{:.1%}".format)
    order = [
        key for method in means.index.unique("method") for key in means.index if key[0] == method
    ]
    texts = texts.loc[order].rename(index=METHODS, level="method")
    return texts.rename_axis(index={"dataset": "data set"})


def _own_score(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of the squared error that is explained: as scdtl says, and at hidden entries."""
    rows = rows[rows["line"] == "other genes alone"]
    means = rows.groupby(["dataset", "values"], sort=False)[["own_score", "explained"]].mean()
    names = {"own_score": "says scdtl, in `uns`", "explained": "at hidden entries"}
    texts = means.rename(columns=names).map("{:.3f}".format)
    return texts.rename_axis(index={"dataset": "data set"})
