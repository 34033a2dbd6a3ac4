"""The command line: a thin shell over the Python API."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scdtl._files import written_whole
from scdtl._settings import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anndata import AnnData


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``scdtl``.

    Parameters
    ----------
    arguments
        Words after ``scdtl``; by default those of this process.

    Returns
    -------
    Exit status: 0, or 1 after an error, of which one line on stderr tells. Wrong usage ends
    the process with status 2.

    Examples
    --------
    >>> from scdtl.cli import main
    >>> main(["impute", "missing.h5ad", "-o", "out.h5ad"])
    1
    """
    options = _parser().parse_args(arguments)
    try:
        with _messages_on_stderr(quiet=options.quiet):
            options.run(options)
    except KeyboardInterrupt:
        print("scdtl: interrupted", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 - a command ends with a line, not a traceback
        print(f"scdtl: error: {_one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scdtl",
        description="Impute scRNA-seq counts by deep transfer learning from bulk RNA-seq.",
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_impute(commands)
    _add_evaluate(commands)
    _add_demo(commands)
    _add_weights(commands)
    return parser


class _Version(argparse.Action):
    """``--version``, which looks the version up only when asked."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        from scdtl import __version__

        print(f"scdtl {__version__}")
        parser.exit()


def _add_data(add: Callable[..., Any]) -> None:
    """Arguments of all commands that work on counts: what to read, and where to start."""
    add("input", type=Path, metavar="IN.h5ad", help="AnnData with raw counts")
    add("--layer", help="layer with the raw counts (default: X)")
    add(
        "--bulk",
        default="human",
        metavar="NAME|FILE|none",
        help="released weights, a weights file, an .h5ad file of bulk counts, or none "
        "(default: %(default)s)",
    )
    add("--batch-key", help="column of obs that names the batches")
    add("--random-state", type=int, default=0, metavar="SEED", help="default: %(default)s")


def _add_impute(commands: Any) -> None:
    command = commands.add_parser(
        "impute",
        help="impute the counts of an .h5ad file",
        description="Impute the counts of an .h5ad file and write it with the imputed layer. "
        "A .zarr store is written block by block; if that is interrupted, the same command goes "
        "on where it ended.",
    )
    add = command.add_argument
    _add_data(add)
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
    command.set_defaults(run=_impute)


def _add_evaluate(commands: Any) -> None:
    command = commands.add_parser(
        "evaluate",
        help="measure on held-out molecules of an .h5ad file how good imputation is",
        description="Hold out molecules of an .h5ad file, let each method predict them from the "
        "others, and print the scores and what they say. The file stays as it is.",
    )
    add = command.add_argument
    _add_data(add)
    add(
        "--methods",
        type=_names,
        metavar="A,B",
        help="some of: observed, mean profile, scdtl, knn smoothing, alra, magic, scvi "
        "(default: those installed but scvi, which is slow)",
    )
    add(
        "--held-out-fraction",
        type=float,
        default=0.1,
        metavar="P",
        help="share of the molecules to hold out (default: %(default)s)",
    )
    add("--splits", type=int, default=1, metavar="N", help="default: %(default)s")
    add("--max-epochs", type=int, metavar="N", help="of scdtl (default: by cells)")
    add("--html", type=Path, metavar="REPORT.html", help="write a report, one page")
    add("--csv", type=Path, metavar="SCORES.csv", help="write the table of scores")
    add("--quiet", action="store_true", help="say nothing but scores and errors")
    command.set_defaults(run=_evaluate)


def _add_demo(commands: Any) -> None:
    command = commands.add_parser(
        "demo",
        help="impute real blood cells, score the result and draw a figure",
        description="Impute 700 real blood cells, score the result on held-out molecules, "
        "cluster it, and write an .h5ad file and a figure.",
    )
    command.add_argument(
        "--out-dir",
        type=Path,
        default=Path("scdtl_demo"),
        metavar="FOLDER",
        help="where to write (default: %(default)s)",
    )
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")
    command.set_defaults(run=_demo)


def _add_weights(commands: Any) -> None:
    command = commands.add_parser(
        "weights",
        help="list, fetch or describe the released bulk weights",
        description="List, fetch or describe the released bulk weights.",
    )
    command.set_defaults(quiet=False)
    verbs = command.add_subparsers(required=True, metavar="COMMAND")

    def add(verb: str, run: Callable[[argparse.Namespace], None], about: str) -> Any:
        verb_parser = verbs.add_parser(verb, help=about, description=f"{about.capitalize()}.")
        verb_parser.set_defaults(run=run)
        return verb_parser

    add("list", _weights_list, "print a table of the released weights")
    fetch = add("fetch", _weights_fetch, "download weights if need be, and print the file's path")
    info = add("info", _weights_info, "print what is known of weights")
    fetch.add_argument("name", metavar="NAME", help="name of released weights")
    fetch.add_argument("--quiet", action="store_true", help="say nothing but errors")
    info.add_argument("name", metavar="NAME", help="name of released weights")


def _devices(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdigit() else text


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _impute(options: argparse.Namespace) -> None:
    output = _output_file(options.output, ".h5ad", ".zarr")
    out = output if output.suffix == ".zarr" else None
    if options.backed and out is None:
        raise ValueError(f"--backed writes a zarr store: name the output {output.stem}.zarr")
    genes = None if options.genes is None else _read_genes(options.genes)
    adata = _read_h5ad(options.input, backed=options.backed)
    if out is None and genes is None and options.false_zero_rate is None:
        _check_space(output, adata.n_obs * adata.n_vars * 4 * (1 + options.return_std))
    bulk = _bulk(options.bulk)

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


def _evaluate(options: argparse.Namespace) -> None:
    page = options.html and _output_file(options.html, ".html")
    csv = options.csv and _output_file(options.csv, ".csv")
    adata = _read_h5ad(options.input)
    bulk = _bulk(options.bulk)

    from scdtl.tl import evaluate
    from scdtl.tl._evaluation import table

    with contextlib.redirect_stdout(sys.stderr):
        evaluation = evaluate(
            adata,
            layer=options.layer,
            methods=options.methods,
            bulk=bulk,
            batch_key=options.batch_key,
            held_out_fraction=options.held_out_fraction,
            n_splits=options.splits,
            random_state=options.random_state,
            max_epochs=options.max_epochs,
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


def _demo(options: argparse.Namespace) -> None:
    from scdtl._demo import run_demo

    run_demo(options.out_dir)


def _weights_list(options: argparse.Namespace) -> None:
    from scdtl.pretrained import available

    print(available().drop(columns="sha256").reset_index().to_string(index=False))


def _weights_fetch(options: argparse.Namespace) -> None:
    from scdtl.pretrained import fetch

    print(fetch(options.name))


def _weights_info(options: argparse.Namespace) -> None:
    from scdtl.pretrained import info

    for key, value in info(options.name).items():
        print(f"{key}: {value}")


def _output_file(path: Path, *suffixes: str) -> Path:
    """Where to write, after a check that this will be possible once the work is done."""
    if path.suffix not in suffixes:
        raise ValueError(f"output {path}: the name must end in {' or '.join(suffixes)}")
    if path.is_dir() and path.suffix != ".zarr":  # which is a folder, and not to be overwritten
        raise IsADirectoryError(f"output {path} is a folder: name a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"output folder {path.parent} does not exist: make it first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"output folder {path.parent} may not be written to")
    return path.resolve()


def _check_space(path: Path, n_bytes: int) -> None:
    """Refuse what a disk does not hold, before any work: on a full one HDF5 crashes."""
    free = shutil.disk_usage(path.parent).free
    if n_bytes > free:
        raise OSError(
            f"no space left for {path}: the layer alone takes {n_bytes / 2**20:,.0f} MiB, and "
            f"{free / 2**20:,.0f} MiB are free. Write to another disk, or fewer --genes"
        )


def _read_h5ad(path: Path, *, backed: bool = False) -> AnnData:
    _check_is_file(path)

    import anndata
    import h5py

    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is not an .h5ad file (not even HDF5): write one with anndata")
    with h5py.File(path) as file:
        if not {"obs", "var"} <= file.keys():
            raise ValueError(
                f"{path} is HDF5 but not an AnnData: read it in Python (10x files with "
                "scanpy.read_10x_h5) and write it with adata.write_h5ad()"
            )
    return anndata.read_h5ad(path, backed="r" if backed else None)


def _read_genes(path: Path) -> list[str]:
    _check_is_file(path)
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file")


def _bulk(text: str) -> str | AnnData | None:
    if text.lower() == "none":
        return None
    return _read_h5ad(Path(text)) if text.endswith(".h5ad") else text


@contextlib.contextmanager
def _messages_on_stderr(*, quiet: bool) -> Iterator[None]:
    """Show our own messages, and no warning of the packages below unless Python is asked to."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("scdtl: %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.filterwarnings("ignore", module="" if quiet else r"(?!scdtl\b)")
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _one_line(error: Exception) -> str:
    """Give the error's message on one line, after its kind if that is none of wrong input."""
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = " ".join(str(message).split())
    if isinstance(error, (ValueError, KeyError, TypeError, OSError)) and text:
        return text
    return f"{type(error).__name__}: {text}".rstrip(": ")


if __name__ == "__main__":
    sys.exit(main())
