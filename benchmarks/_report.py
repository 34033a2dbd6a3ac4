"""Tables of a benchmark: a CSV file with every row, Markdown with the means over seeds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pandas as pd
from _job import can_run, measure
from _tables import as_markdown

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import anndata as ad
    from _scores import Row

COSTS = ["seconds", "train_seconds", "peak_mb", "added_mb"]


class Results:
    """Rows as they come, kept in a file from the first on."""

    def __init__(self, out: Path | None) -> None:
        self.rows: list[Row] = []
        self.failures: list[str] = []
        self._out = out

    def add(
        self, adata: ad.AnnData, method: str, seed: int, scores: str, **labels: str | int
    ) -> None:
        """Measure a method; a failure is noted and the benchmark goes on."""
        run = " ".join([*map(str, labels.values()), f"seed {seed}", method])
        try:
            rows = measure(adata, method, seed, scores)
        except RuntimeError as error:
            self.failures.append(f"{run}: {error}")
            print(f"failed: {self.failures[-1]}", file=sys.stderr)
            return
        self.rows += [{**labels, **row} for row in rows]
        print(f"{run}: {rows[0]['seconds']:.1f} s", file=sys.stderr)
        if self._out is not None:
            pd.DataFrame(self.rows).to_csv(self._out, index=False)

    def print_means(self, by: list[str], scores: list[str]) -> None:
        """One Markdown table for each group of labels."""
        table = pd.DataFrame(self.rows)
        for labels, group in table.groupby(by, sort=False):
            seeds = group["seed"].nunique()
            title = ", ".join(f"{key} {value}" for key, value in zip(by, labels, strict=True))
            print(f"\n### {title} (mean of {seeds} seed{'s' * (seeds > 1)})\n")
            means = group.groupby(["method", "line"], sort=False)[[*scores, *COSTS]].mean()
            print(markdown(means, best=scores))


def installed(methods: Iterable[str]) -> list[str]:
    """Methods whose libraries are there; the others are named and left out."""
    chosen = list(methods)
    for method in chosen:
        if not can_run(method):
            print(f"skipped, not installed: {method}", file=sys.stderr)
    return [method for method in chosen if can_run(method)]


def markdown(means: pd.DataFrame, best: list[str]) -> str:
    """A table with scores to three digits, the best of each in bold."""
    cells = means.copy().astype(object)
    for column in means:
        digits = 3 if column in best else (1 if "seconds" in str(column) else 0)
        texts = [f"{value:.{digits}f}".replace("nan", "") for value in means[column]]
        if column in best:
            texts = [f"**{t}**" if t == max(texts, key=_number) else t for t in texts]
        cells[column] = texts
    return as_markdown(cells)


def _number(text: str) -> float:
    return float(text) if text else float("-inf")
