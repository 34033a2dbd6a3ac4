"""The command line: a thin wrapper around the Python API."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import warnings
from typing import TYPE_CHECKING

from scdtl import __version__
from scdtl._settings import logger
from scdtl.cli import _demo, _evaluate, _impute, _unmeasured, _weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``scdtl``; return 0, or 1 after an error, reported in one line on stderr.

    Wrong usage ends the process with status 2.

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
    parser.add_argument("--version", action="version", version=f"scdtl {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (_impute, _unmeasured, _evaluate, _demo, _weights):
        command.add_to(commands)
    return parser


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
    """Return the error's message on one line, with its type if the message needs it."""
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = " ".join(str(message).split())
    plain = (ValueError, KeyError, TypeError, OSError, MemoryError, ImportError)
    if isinstance(error, plain) and text:
        return text
    return f"{type(error).__name__}: {text}".rstrip(": ")
