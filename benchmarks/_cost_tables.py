"""Tables of time and memory: a training step, and growth with the number of cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
from _tables import as_markdown, as_texts

STEPS = ["bare", "dae", "full", "scvi"]
SCALE_METHODS = {
    "zero-shot": "scdtl, no training",
    "scdtl": "scdtl",
    "store-zero": "scdtl, no training, to disk",
    "store": "scdtl, to disk",
    "magic": "MAGIC",
    "alra": "ALRA",
    "scvi-30": "scVI, 30 epochs",
}


COSTS = ["seconds", "cpu_seconds", "peak_mb"]


def step(rows: pd.DataFrame) -> str:
    """Medians of `step.py` and their ratios."""
    names = rows.drop_duplicates("step").set_index("step")["name"]
    order = [step for step in STEPS if step in names]
    table = rows.pivot(index="step", columns="loop", values="milliseconds").loc[order]
    table = table[list(dict.fromkeys(rows["loop"]))]
    texts = as_texts(table, digits=1, best=False)
    texts.index = names[order].rename("step")
    for below in ("dae", "bare"):
        # The bare products have no loop of scvi-tools: their plain time stands in.
        ratio = table.loc["full"] / table.loc[below].fillna(table.loc[below].max())
        texts.loc[f"ratio: {names['full']} / {names[below]}"] = [f"{r:.2f}" for r in ratio]
    facts = rows.iloc[0]
    return (
        f"Milliseconds per step, medians of at least {facts['repeats']:.0f}: "
        f"{facts['minibatch']:.0f} cells × {facts['genes']:.0f} genes, "
        f"{facts['nonzero']:.0%} non-zero, {facts['threads']:.0f} threads.\n\n"
        f"{as_markdown(texts)}\n"
    )


def scale(rows: pd.DataFrame) -> str:
    """Medians of `scale.py` by cells, a table for each number of genes."""
    rows = rows.assign(cells=rows["cells"].astype(int))
    parts = []
    for n_genes, some in rows.groupby("genes", sort=False):
        order = [method for method in SCALE_METHODS if method in set(some["method"])]
        medians = some.groupby(["method", "cells"])[COSTS].median()
        table = pd.DataFrame(index=[SCALE_METHODS[method] for method in order])
        for n_cells in sorted(set(some["cells"])):
            table[f"{n_cells:,} cells"] = [
                _time_and_memory(medians, method, n_cells) for method in order
            ]
        table.index.name = f"{n_genes:,} genes"
        parts.append(as_markdown(table))
        growth = medians.loc[medians["seconds"].notna()].reset_index()
        exponents = [
            f"{SCALE_METHODS[method]} {_growth(growth[growth['method'] == method]):.2f}"
            for method in order
            if growth["cells"][growth["method"] == method].nunique() > 1
        ]
        if exponents:
            parts.append(
                "Growth exponent of time, from the fewest to the most cells: "
                f"{', '.join(exponents)}."
            )
    return "\n\n".join(parts) + "\n"


def gpu(rows: pd.DataFrame) -> str:
    """Seconds and held-out scores of `gpu.py`, by precision and number of cells."""
    facts = rows.iloc[0]
    cells = rows["cells"].astype(int).map("{:,} cells".format)
    text = rows["seconds"].map("{:.1f} s".format) + rows["explained"].map(" ({:.4f})".format)
    table = pd.crosstab(rows["mode"], cells, text, aggfunc="first")
    table = table.loc[rows["mode"].unique(), cells.unique()].fillna("not measured")
    return (
        f"{as_markdown(table.rename_axis(facts['gpu']))}\n\nSeconds, and the share of held-out "
        f"deviance explained. Synthetic counts of {facts['genes']:,.0f} genes, "
        f"{facts['threads']:.0f} threads.\n"
    )


def _time_and_memory(medians: pd.DataFrame, method: str, n_cells: int) -> str:
    if (method, n_cells) not in medians.index:
        return ""
    seconds, cpu, peak = medians.loc[(method, n_cells)]
    if pd.isna(seconds):
        return "failed"
    of_cpu = "" if pd.isna(cpu) else f" ({cpu:,.0f})"
    return f"{seconds:,.1f} s{of_cpu}, {peak / 1024:.1f} GiB"


def _growth(rows: pd.DataFrame) -> float:
    ends = rows.sort_values("cells").iloc[[0, -1]]
    return float(np.diff(np.log(ends["seconds"]))[0] / np.diff(np.log(ends["cells"]))[0])
