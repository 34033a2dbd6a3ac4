"""Table of unmeasured.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _tables import as_markdown, named

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "cells": "cells",
    "asked": "genes asked",
    "median_r": "median r",
    "upper_r": "upper quartile of r",
    "below": "share below -.1",
    "reached": "mean r",
    "expected": "mean expected r",
    "rank": "rank correlation of expected and reached r",
    "ceiling": "median r if they are measured (ceiling)",
}


def unmeasured(rows: pd.DataFrame) -> str:
    """Means over draws of the cells, a row a data set, and the mean of the human UMI sets."""
    by_set = named(rows).astype({"cells": int}).groupby("dataset", sort=False)
    means = by_set[list(COLUMNS)].mean()
    human = means[(by_set["bulk"].first() == "human").to_numpy()]
    means.loc["mean of the human sets"] = human.mean()
    whole = means[["cells", "asked"]].round().astype(int).astype(str)
    texts = means.drop(columns=["cells", "asked"]).map("{:.3f}".format)
    texts = whole.join(texts).rename(columns=COLUMNS)
    return as_markdown(texts) + "\n"
