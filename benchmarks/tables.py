"""Pages and figure of the documentation, from the CSV files of the benchmarks.

    python benchmarks/tables.py

Reads `docs/_static/benchmarks/*.csv`, the files that `--out` of the benchmarks writes, and writes
`docs/benchmarks/*.md`, which `docs/benchmarks.md` includes, `docs/_static/benchmarks.png`, and the
table in the README. No number in them is typed by hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import _entry_tables
import _tables
import _unmeasured_table
import pandas as pd
from _figure import draw
from _scale_figure import draw as draw_scale

DOCS = Path(__file__).parents[1] / "docs"
WRITERS = {
    "accuracy": _tables.accuracy,
    "downsampling": _tables.downsampling,
    "ablation": _tables.ablation,
    "step": _tables.step,
    "scale": _tables.scale,
    "transfer": _tables.transfer,
    "masking": _entry_tables.masking,
    "reads": _entry_tables.reads,
    "unmeasured": _unmeasured_table.unmeasured,
    "clustering": _tables.clustering,
    "agreement": _tables.agreement,
    "false_signals": _tables.false_signals,
}
TRUST = ("coverage", "genes", "silent")
MISSING = "*Not measured yet.*\n"
README_MARKS = "<!-- by benchmarks/tables.py -->\n", "<!-- end of table -->\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the documentation")
    docs = parser.parse_args().docs
    (docs / "benchmarks").mkdir(exist_ok=True)
    for name, write in WRITERS.items():
        csv = docs / "_static" / "benchmarks" / f"{name}.csv"
        text = write(pd.read_csv(csv, dtype={"cells": str})) if csv.exists() else MISSING
        (docs / "benchmarks" / f"{name}.md").write_text(text, encoding="utf-8")
        if name == "accuracy" and csv.exists():
            rows = pd.read_csv(csv, dtype={"cells": str})
            write_into_readme(docs.parent / "README.md", rows)
            draw(rows, docs / "_static" / "benchmarks.png")
        if name == "scale" and csv.exists():
            draw_scale(pd.read_csv(csv), docs / "_static" / "scale.png")
    csvs = {part: docs / "_static" / "benchmarks" / f"trust_{part}.csv" for part in TRUST}
    measured = all(csv.exists() for csv in csvs.values())
    parts = {part: pd.read_csv(csv) for part, csv in csvs.items()} if measured else {}
    text = _tables.trust(parts) if measured else MISSING
    (docs / "benchmarks" / "trust.md").write_text(text, encoding="utf-8")


def write_into_readme(path: Path, rows: pd.DataFrame) -> None:
    """Put the table of accuracy between its marks."""
    before, rest = path.read_text(encoding="utf-8").split(README_MARKS[0])
    _, after = rest.split(README_MARKS[1])
    text = before + README_MARKS[0] + _tables.readme(rows) + README_MARKS[1] + after
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
