"""``scdtl unmeasured``: impute genes that a file lacks."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scdtl._files import written_whole
from scdtl._settings import logger
from scdtl.cli._input import add_data, arguments_of, read_bulk, read_data, read_genes
from scdtl.cli._output import output_file

if TYPE_CHECKING:
    import argparse


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    command = commands.add_parser(
        "unmeasured",
        help="impute genes that were not measured",
        description="Impute genes that a targeted panel did not measure, from those it did and "
        "from bulk, and write them as an AnnData of their own: var['expected_r'] says how far to "
        "believe each one.",
    )
    add = command.add_argument
    add_data(add)
    add("-o", "--output", type=Path, required=True, metavar="OUT.h5ad", help="file to write")
    add("--overwrite", action="store_true", help="replace existing output")
    add("--genes", type=Path, metavar="FILE", help="genes to impute, one per line (default: all)")
    add(
        "--scale",
        default="log1p",
        metavar="SCALE",
        help="log1p or normalized (default: %(default)s)",
    )
    add(
        "--max-epochs",
        type=int,
        metavar="N",
        help="0 for no training (default: by the number of cells and genes)",
    )
    add("--batch-size", type=int, default=64, metavar="N", help="default: %(default)s")
    add("--accelerator", default="auto", help="cpu, gpu or auto (default: %(default)s)")
    add("--quiet", action="store_true", help="print only errors")
    command.set_defaults(run=_run, bulk="auto")


def _run(options: argparse.Namespace) -> None:
    output = output_file(options.output, ".h5ad", options=options)
    genes = None if options.genes is None else read_genes(options.genes)
    adata = read_data(options.input, modality=options.modality)

    from scdtl._writable import make_writable, nullable_strings

    make_writable(adata, output)  # obs and obsm are carried over
    bulk = read_bulk(options.bulk)

    from scdtl.pp import impute_unmeasured

    with contextlib.redirect_stdout(sys.stderr):  # Lightning's progress bar
        result = impute_unmeasured(
            adata,
            **(arguments_of(options) | {"bulk": bulk, "genes": genes}),
            verbose=not options.quiet,
        )
    with nullable_strings(), written_whole(output) as file:
        result.write_h5ad(file)
    logger.info("wrote %s", options.output)
