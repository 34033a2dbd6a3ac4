"""The three small tables that the page of benchmarks begins with: methods by their main scores."""

from __future__ import annotations

import pandas as pd
from _tables import METHODS, OWN, as_markdown, as_texts

PUBLISHED, POSTERIOR = "as published", "with posterior"
NONE = "–"
MASKED = 30  # % of the values
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
    columns = {
        **_with_and_without_posterior(few),
        "r, unmeasured": pd.Series({"scdtl": of_human(unmeasured)["median_r"]}),
    }
    return _table(columns, UMI_METHODS)


def dropouts(masking: pd.DataFrame, reads: pd.DataFrame) -> str:
    """Masked entries of UMIs, hidden entries of reads, and reads that were thinned."""
    pairs = reads[reads["part"] == "pairs"]
    gene_means = of_methods(masking[masking["masked"] == MASKED], "rmse", "non-zero entries")
    detection = of_methods(reads[reads["part"] == "hidden"], "auc", "no values")
    columns = {
        "masked, RMSE": masked(masking, "rmse").combine_first(gene_means),
        "masked, AUC": masked(masking, "auc"),
        "hidden, r": hidden(reads, "r"),
        "hidden, AUC": hidden(reads, "auc").combine_first(detection),
        "r, deep": of_methods(pairs, "r", "observed values kept").combine_first(
            of_methods(pairs[pairs["method"] == "observed"], "r", PUBLISHED)
        ),
    }
    return _table(columns, READ_METHODS)


def masked(masking: pd.DataFrame, score: str) -> pd.Series:
    """Zero-truncated, where 30 % of the values are masked."""
    rows = masking[masking["masked"] == MASKED]
    return of_methods(rows, score, "zero-truncated", own="zero-truncated")


def hidden(reads: pd.DataFrame, score: str) -> pd.Series:
    """Hidden entries of reads, by scdtl from the other genes alone."""
    rows = reads[reads["part"] == "hidden"]
    return of_methods(rows, score, PUBLISHED, own="other genes alone")


def of_human(unmeasured: pd.DataFrame) -> pd.Series:
    """Unmeasured genes and their ceiling, mean over the human data sets."""
    human = unmeasured[unmeasured["bulk"] == "human"]
    return human.groupby("dataset")[["median_r", "ceiling"]].mean().mean()


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
