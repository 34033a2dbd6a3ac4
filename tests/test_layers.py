"""The layers of the package: the contracts in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter")
CONTRACTS = Path(__file__).parents[1] / "pyproject.toml"


@pytest.mark.skipif(not CONTRACTS.is_file(), reason="not in a checkout")
def test_no_package_imports_one_above_it_and_there_is_no_circle():
    command = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    run = subprocess.run(
        [sys.executable, "-c", command],
        cwd=CONTRACTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
