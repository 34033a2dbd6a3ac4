"""``scdtl impute``: impute the counts of a file."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scdtl._files import replace_folder, written_whole
from scdtl._settings import logger
from scdtl.cli._input import add_data, arguments_of, read_bulk, read_data, read_genes
from scdtl.cli._output import check_space, output_file

if TYPE_CHECKING:
    import argparse


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    command = commands.add_parser(
        "impute",
        help="impute the counts of a file",
        description="Impute the counts of a file and write an AnnData with the imputed layer; for "
        "an .h5mu file, the AnnData of the modality. A .zarr store is written block by block; "
        "after an interruption, the same command continues where it stopped.",
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
    add("--overwrite", action="store_true", help="replace output that exists")
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
        help="all entries, zeros only, trusted genes only, or dropouts only (default: "
        "%(default)s)",
    )
    add(
        "--no-own-counts",
        dest="own_counts",
        action="store_false",
        help="predict each entry from the other genes alone",
    )
    add(
        "--dropout-threshold",
        type=float,
        default=0.5,
        metavar="P",
        help="probability above which --replace dropouts fills a zero (default: %(default)s)",
    )
    add(
        "--false-zero-rate",
        type=float,
        metavar="SHARE",
        help="share of a gene's molecules to give up for exact zeros (default: no zeros)",
    )
    add("--genes", type=Path, metavar="FILE", help="genes to write, one per line (default: all)")
    add(
        "--max-epochs",
        type=int,
        metavar="N",
        help="0 for no training (default: by the number of cells and genes)",
    )
    add("--batch-size", type=int, default=64, metavar="N", help="default: %(default)s")
    add("--accelerator", default="auto", help="cpu, gpu or auto (default: %(default)s)")
    add(
        "--devices", type=_devices, default="auto", help="number of devices (default: %(default)s)"
    )
    add("--return-std", action="store_true", help="also write standard deviations")
    add("--return-dropout", action="store_true", help="also write dropout probabilities of zeros")
    add("--quiet", action="store_true", help="print only errors")
    command.set_defaults(run=_run)


def _devices(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdigit() else text


def _run(options: argparse.Namespace) -> None:
    output = output_file(options.output, ".h5ad", ".zarr", options=options)
    out = None
    if output.suffix == ".zarr":  # one that exists stays until the new one is whole
        out = output.with_name(f"{output.stem}.new.zarr") if output.exists() else output
    if options.backed and out is None:
        raise ValueError(f"--backed writes a zarr store: name the output {output.stem}.zarr")
    genes = None if options.genes is None else read_genes(options.genes)
    adata = read_data(options.input, backed=options.backed, modality=options.modality)

    from scdtl._writable import make_writable, nullable_strings

    if out is None:
        is_dense = genes is None and options.false_zero_rate is None
        n_layers = 1 + options.return_std + options.return_dropout
        layers = is_dense * adata.n_obs * adata.n_vars * 4 * n_layers
        check_space(output, sys.getsizeof(adata) + layers)
        make_writable(adata, output)
    bulk = read_bulk(options.bulk)

    from scdtl.pp import impute

    with contextlib.redirect_stdout(sys.stderr):  # Lightning's progress bar
        impute(
            adata,
            **(arguments_of(options) | {"bulk": bulk, "genes": genes}),
            out=out,
            verbose=not options.quiet,
        )
    if out is None:
        with nullable_strings(), written_whole(output) as file:
            adata.write_h5ad(file)
    elif out != output:
        replace_folder(out, output)
    logger.info("wrote %s", options.output)
