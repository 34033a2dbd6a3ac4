"""``scdtl impute``: impute the counts of a file."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scdtl._files import written_whole
from scdtl._settings import logger
from scdtl.cli._input import add_data, read_bulk, read_genes, read_h5ad
from scdtl.cli._output import check_space, output_file

if TYPE_CHECKING:
    import argparse


def add_to(commands: Any) -> None:
    """Add the command to a parser.

    Parameters
    ----------
    commands
        The parser's sub-parsers.
    """
    command = commands.add_parser(
        "impute",
        help="impute the counts of an .h5ad file",
        description="Impute the counts of an .h5ad file and write it with the imputed layer. "
        "A .zarr store is written block by block; if that is interrupted, the same command goes "
        "on where it ended.",
    )
    add = command.add_argument
    add_data(add)
    add(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT.h5ad|OUT.zarr",
        help="file or zarr store to write",
    )
    add(
        "--backed",
        action="store_true",
        help="read the counts block by block (with OUT.zarr), for files larger than memory",
    )
    add("--key-added", default="scdtl", help="name of the new layer (default: %(default)s)")
    add(
        "--scale",
        default="log1p",
        metavar="SCALE",
        help="log1p, normalized, counts or expected_log1p (default: %(default)s)",
    )
    add(
        "--replace",
        default="all",
        metavar="WHICH",
        help="all entries, zeros only, or trusted genes only (default: %(default)s)",
    )
    add(
        "--false-zero-rate",
        type=float,
        metavar="SHARE",
        help="share of a gene's molecules to give up for exact zeros (default: no zeros)",
    )
    add("--genes", type=Path, metavar="FILE", help="genes to write, one a line (default: all)")
    add("--max-epochs", type=int, metavar="N", help="0 for no training (default: by cells)")
    add("--batch-size", type=int, default=64, metavar="N", help="default: %(default)s")
    add("--accelerator", default="auto", help="cpu, gpu, mps or auto (default: %(default)s)")
    add("--devices", type=_devices, default="auto", help="how many (default: %(default)s)")
    add("--return-std", action="store_true", help="write the standard deviations too")
    add("--quiet", action="store_true", help="say nothing but errors")
    command.set_defaults(run=_run)


def _devices(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdigit() else text


def _run(options: argparse.Namespace) -> None:
    output = output_file(options.output, ".h5ad", ".zarr")
    out = output if output.suffix == ".zarr" else None
    if options.backed and out is None:
        raise ValueError(f"--backed writes a zarr store: name the output {output.stem}.zarr")
    genes = None if options.genes is None else read_genes(options.genes)
    adata = read_h5ad(options.input, backed=options.backed)
    if out is None and genes is None and options.false_zero_rate is None:
        check_space(output, adata.n_obs * adata.n_vars * 4 * (1 + options.return_std))
    bulk = read_bulk(options.bulk)

    from scdtl.pp import impute

    with contextlib.redirect_stdout(sys.stderr):  # Lightning's progress bar
        impute(
            adata,
            layer=options.layer,
            bulk=bulk,
            batch_key=options.batch_key,
            key_added=options.key_added,
            scale=options.scale,
            replace=options.replace,
            false_zero_rate=options.false_zero_rate,
            genes=genes,
            max_epochs=options.max_epochs,
            batch_size=options.batch_size,
            accelerator=options.accelerator,
            devices=options.devices,
            random_state=options.random_state,
            return_std=options.return_std,
            out=out,
            verbose=not options.quiet,
        )
    if out is None:
        with written_whole(output) as file:
            adata.write_h5ad(file)
    logger.info("wrote %s", options.output)
