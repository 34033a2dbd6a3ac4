"""Tables and numbers of the pages are those of the CSV files of the benchmarks."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pandas as pd
import pytest

if TYPE_CHECKING:
    from pathlib import Path

RESULT = re.compile(r"(?<![\w.])0?\.\d{2,}\b(?!<!-- =)")
NOT_TEXT = re.compile(r"```.*?```|\$\$.*?\$\$|`[^`]*`|<!-- by .*?<!-- end of table -->", re.DOTALL)
SETTINGS = {
    ("docs/how_it_works.md", "0.01"),  # weight of the MMD
    ("docs/how_it_works.md", "0.006"),  # gain below which bulk is dropped
    ("docs/trust.md", "0.05"),  # an example
}


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """The pages and the CSV files, without what Sphinx makes of them."""
    leave_out = shutil.ignore_patterns("_build", "generated")
    shutil.copytree(root / "docs", tmp_path / "docs", ignore=leave_out)
    shutil.copy(root / "README.md", tmp_path)
    return tmp_path


def write_tables(root: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "benchmarks" / "tables.py"), "--no-figures"]
    command += ["--root", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def pages(folder: Path) -> dict[str, str]:
    found = [folder / "README.md", *(folder / "docs").rglob("*.md")]
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in found}


def test_tables_and_numbers_are_those_of_the_csv_files(root: Path, copy: Path) -> None:
    before = pages(copy)
    run = write_tables(root, copy)
    assert run.returncode == 0, run.stderr
    changed = [name for name, text in pages(copy).items() if text != before.get(name)]
    assert not changed, "run python benchmarks/tables.py"


def test_other_results_change_the_numbers_and_fail_where_a_statement_is_wrong(
    root: Path, copy: Path
) -> None:
    path = copy / "docs" / "_static" / "benchmarks" / "accuracy.csv"
    rows = pd.read_csv(path)
    rows.loc[rows["method"] == "scdtl", "gene_d2"] = 0.0123
    rows.to_csv(path, index=False)
    run = write_tables(root, copy)
    assert run.returncode == 1
    assert "README.md: best_on_average does not hold" in run.stderr
    assert "against\n0.012<!-- =gene_d2 -->" in pages(copy)["docs/index.md"]


def test_every_result_in_the_text_is_marked(root: Path) -> None:
    paths = [root / "README.md", *(root / "docs").glob("*.md")]
    unmarked = {
        (path.relative_to(root).as_posix(), number)
        for path in paths
        for number in RESULT.findall(NOT_TEXT.sub("", path.read_text("utf-8")))
    }
    assert unmarked <= SETTINGS, "have it computed in benchmarks/_claims.py, and mark it"
