"""``scdtl demo``: real cells, imputed and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    command = commands.add_parser(
        "demo",
        help="impute real blood cells, say what was gained and draw a figure",
        description="Impute 100 real blood cells from a third of their molecules, compare scdtl "
        "with and without bulk and other methods on the other two thirds, and write an .h5ad file "
        "and a figure.",
    )
    command.add_argument(
        "--out-dir",
        type=Path,
        default=Path("scdtl_demo"),
        metavar="FOLDER",
        help="where to write (default: %(default)s)",
    )
    command.add_argument("--quiet", action="store_true", help="print only errors")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from scdtl._demo import run_demo

    run_demo(options.out_dir)
