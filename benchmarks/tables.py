"""Tables, figures and numbers of the documentation, from the CSV files of the benchmarks.

    python benchmarks/tables.py

Reads `docs/_static/benchmarks/*.csv`, the files that `--out` of the benchmarks writes, and writes

- `docs/benchmarks/*.md`, tables that the pages include,
- `docs/_static/benchmarks.png` and `scale.png`,
- the table in the README, and
- every number in the pages that is followed by a mark, `0.5<!-- =name -->`. `_claims.py` says how
  each is computed. A mark without a number stands behind a statement: it is an error if it no
  longer holds. Then reword it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import _cell_tables
import _cost_tables
import _entry_tables
import _figure
import _marks
import _scale_figure
import _summary_tables
import _umi_tables
import _unmeasured_table
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
WRITERS: dict[str, tuple[Callable[..., str], list[str]]] = {
    "umis": (_summary_tables.umis, ["accuracy", "downsampling"]),
    "dropouts": (_summary_tables.dropouts, ["masking", "reads"]),
    "few_cells": (_summary_tables.few_cells, ["accuracy", "unmeasured"]),
    "accuracy": (_umi_tables.accuracy, ["accuracy"]),
    "downsampling": (_umi_tables.downsampling, ["downsampling"]),
    "ablation": (_umi_tables.ablation, ["ablation"]),
    "transfer": (_umi_tables.transfer, ["transfer"]),
    "mouse": (_umi_tables.weights, ["mouse"]),
    "step": (_cost_tables.step, ["step"]),
    "step_gpu": (_cost_tables.step, ["step_gpu"]),
    "scale": (_cost_tables.scale, ["scale"]),
    "gpu": (_cost_tables.gpu, ["gpu"]),
    "masking": (_entry_tables.masking, ["masking"]),
    "reads": (_entry_tables.reads, ["reads"]),
    "unmeasured": (_unmeasured_table.unmeasured, ["unmeasured"]),
    "clustering": (_cell_tables.clustering, ["clustering"]),
    "neighbours": (_cell_tables.neighbours, ["neighbours"]),
    "agreement": (_cell_tables.agreement, ["agreement"]),
    "false_signals": (_cell_tables.false_signals, ["false_signals"]),
    "trust": (_cell_tables.trust, ["trust_coverage", "trust_genes", "trust_silent"]),
}
FIGURES = {
    "benchmarks.png": (_figure.draw, "accuracy"),
    "scale.png": (_scale_figure.draw, "scale"),
}
IN_README = "umis"
README_MARKS = "<!-- by benchmarks/tables.py -->\n", "<!-- end of table -->\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of README.md and docs/")
    parser.add_argument("--no-figures", action="store_true", help="tables and numbers only")
    arguments = parser.parse_args()
    docs = arguments.root / "docs"
    paths = (docs / "_static" / "benchmarks").glob("*.csv")
    rows = {path.stem: pd.read_csv(path, dtype={"cells": str}) for path in paths}
    for name, (write, csvs) in WRITERS.items():
        text = write(*(rows[csv] for csv in csvs))
        if len(csvs) == 1 and "seed" in rows[csvs[0]]:
            text += f"\nSeeds: {rows[csvs[0]]['seed'].nunique()}.\n"
        (docs / "benchmarks" / f"{name}.md").write_text(text, encoding="utf-8")
        if name == IN_README:
            _write_between_marks(arguments.root / "README.md", text)
    problems = _marks.write(arguments.root, rows)
    for name, (draw, csv) in FIGURES.items() if not arguments.no_figures else ():
        draw(rows[csv], docs / "_static" / name)
    print("\n".join(problems), file=sys.stderr)
    return len(problems) > 0


def _write_between_marks(path: Path, table: str) -> None:
    before, rest = path.read_text(encoding="utf-8").split(README_MARKS[0])
    _, after = rest.split(README_MARKS[1])
    path.write_text(before + table.join(README_MARKS) + after, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
