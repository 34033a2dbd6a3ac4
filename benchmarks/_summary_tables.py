"""The three small tables that the page of benchmarks begins with: methods by their main scores."""

from __future__ import annotations

import pandas as pd
from _tables import METHODS, OWN, as_markdown, as_texts

PUBLISHED, POSTERIOR = "as published", "with posterior"
NONE = "–"
SHOWN = ["scdtl", "scdtl-no-bulk", "cellmapper", "scvi-30", "magic", "knn-smoothing-30"]
UMI_METHODS = [*SHOWN, "recode", "alra", "mean"]
READ_METHODS = [
    *OWN,
    "cellmapper",
    "magic",
    "magic-logs",
    "knn-smoothing-15",
    "scvi-30",
    "scvi-30-zinb",
    "alra",
    "mean-of-logs",
    "gene-mean",
    "detection",
    "observed",
]


def umis(accuracy: pd.DataFrame, downsampling: pd.DataFrame) -> str:
    """Held-out molecules of all cells, and depth that was taken away."""
    whole = accuracy[accuracy["cells"] == "all"]
    columns = {
        **_with_and_without_posterior(whole),
        "r, deep": of_methods(downsampling, "gene_r", POSTERIOR),
    }
    return _table(columns, UMI_METHODS)


def few_cells(accuracy: pd.DataFrame, unmeasured: pd.DataFrame) -> str:
    """Held-out molecules of 100 cells, and genes that were not measured."""
    few = accuracy[accuracy["cells"] == "100"]
    human = unmeasured[unmeasured["bulk"] == "human"].groupby("dataset")["median_r"].mean()
    columns = {
        **_with_and_without_posterior(few),
        "r, unmeasured": pd.Series({"scdtl": human.mean()}),
    }
    return _table(columns, UMI_METHODS)


def dropouts(masking: pd.DataFrame, reads: pd.DataFrame) -> str:
    """Masked entries of UMIs, hidden entries of reads, and reads that were thinned."""
    masked = masking[masking["masked"] == 30]
    hidden, pairs = (reads[reads["part"] == part] for part in ("hidden", "pairs"))
    others = {"line": PUBLISHED, "own": "other genes alone"}
    columns = {
        "masked, RMSE": of_methods(
            masked, "rmse", "zero-truncated", own="zero-truncated"
        ).combine_first(of_methods(masked, "rmse", "non-zero entries")),
        "masked, AUC": of_methods(masked, "auc", "zero-truncated", own="zero-truncated"),
        "hidden, r": of_methods(hidden, "r", **others),
        "hidden, AUC": of_methods(hidden, "auc", **others).combine_first(
            of_methods(hidden, "auc", "no values")
        ),
        "r, deep": of_methods(pairs, "r", "observed values kept").combine_first(
            of_methods(pairs[pairs["method"] == "observed"], "r", PUBLISHED)
        ),
    }
    return _table(columns, READ_METHODS)


def of_methods(rows: pd.DataFrame, score: str, line: str, own: str = "own posterior") -> pd.Series:
    """Mean over data sets of the means over seeds, of one line a method; `own` is scdtl's."""
    chosen = rows["line"].where(~rows["method"].isin(OWN), other="") == line
    chosen |= rows["method"].isin(OWN) & (rows["line"] == own)
    means = rows[chosen].groupby(["method", "dataset"])[score].mean().unstack("dataset")
    return means.mean(axis=1, skipna=False)  # nothing, where a method failed on a data set


def _with_and_without_posterior(rows: pd.DataFrame) -> dict[str, pd.Series]:
    names = {
        "gene_d2": ("gene D²", "gene D² + posterior"),
        "poisson_score": ("Poisson", "Poisson + posterior"),
    }
    return {
        name: of_methods(rows, score, line)
        for score, columns in names.items()
        for line, name in zip((PUBLISHED, POSTERIOR), columns, strict=True)
    }


def _table(columns: dict[str, pd.Series], methods: list[str]) -> str:
    means = pd.DataFrame(columns).reindex(methods).dropna(how="all")
    lowest = [column for column in means if "RMSE" in column]
    texts = as_texts(means)
    texts[lowest] = as_texts(means[lowest], lowest=True)
    texts = texts.replace("", NONE).rename_axis("method")
    texts = texts.rename(index={METHODS["observed"]: "shallow counts as they are"})
    return as_markdown(texts) + "\n"
