"""``scdtl evaluate``: measure how well imputation predicts held-out counts."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scdtl._files import written_whole
from scdtl._settings import logger
from scdtl.cli._input import add_data, arguments_of, read_bulk, read_data
from scdtl.cli._output import output_file
from scdtl.tl.peers import NAMES

if TYPE_CHECKING:
    import argparse


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    command = commands.add_parser(
        "evaluate",
        help="measure how well imputation predicts held-out counts",
        description="Hold out molecules (for reads: entries), predict them from the rest with "
        "each method, and print the scores and a verdict. The input is not changed.",
    )
    add = command.add_argument
    add_data(add)
    add(
        "--methods",
        type=_names,
        metavar="A,B",
        help=f"some of: {', '.join(NAMES)} (default: all that are installed, fast and "
        "suited to the counts)",
    )
    add(
        "--held-out-fraction",
        type=float,
        default=0.1,
        metavar="P",
        help="share of the molecules (for reads, of the entries) to hold out "
        "(default: %(default)s)",
    )
    add(
        "--splits",
        dest="n_splits",
        type=int,
        default=1,
        metavar="N",
        help="default: %(default)s",
    )
    add(
        "--max-epochs",
        type=int,
        metavar="N",
        help="for scdtl (default: by the number of cells and genes)",
    )
    add("--html", type=Path, metavar="REPORT.html", help="write a one-page report")
    add("--csv", type=Path, metavar="SCORES.csv", help="write the table of scores")
    add("--overwrite", action="store_true", help="replace existing output")
    add("--quiet", action="store_true", help="print only scores and errors")
    command.set_defaults(run=_run)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _run(options: argparse.Namespace) -> None:
    page = options.html and output_file(options.html, ".html", options=options)
    csv = options.csv and output_file(options.csv, ".csv", options=options)
    adata = read_data(options.input, modality=options.modality)
    bulk = read_bulk(options.bulk)

    from scdtl.tl import evaluate
    from scdtl.tl._evaluation import table

    with contextlib.redirect_stdout(sys.stderr):
        evaluation = evaluate(
            adata,
            **(arguments_of(options) | {"bulk": bulk}),
            verbose=not options.quiet,
        )
    print(table(evaluation.scores))
    print(evaluation.verdict)
    if page:
        evaluation.to_html(page)
        logger.info("wrote %s", options.html)
    if csv:
        with written_whole(csv) as file:
            evaluation.scores.to_csv(file)
        logger.info("wrote %s", options.csv)
