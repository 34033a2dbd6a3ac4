"""``scdtl weights``: the released bulk weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    command = commands.add_parser(
        "weights",
        help="list, find or describe the released bulk weights",
        description="List, find or describe the released bulk weights.",
    )
    command.set_defaults(quiet=False)
    verbs = command.add_subparsers(required=True, metavar="COMMAND")

    def add_verb(verb: str, run: Callable[[argparse.Namespace], None], about: str) -> Any:
        verb_parser = verbs.add_parser(verb, help=about, description=f"{about.capitalize()}.")
        verb_parser.set_defaults(run=run)
        return verb_parser

    add_verb("list", _list, "print a table of the released weights")
    fetch = add_verb("fetch", _fetch, "find or download a weight file, and print its path")
    info = add_verb("info", _info, "describe released weights")
    fetch.add_argument("name", metavar="NAME", help="name of released weights")
    fetch.add_argument("--quiet", action="store_true", help="print only errors")
    info.add_argument("name", metavar="NAME", help="name of released weights")


def _list(options: argparse.Namespace) -> None:
    from scdtl.pretrained import available

    print(available().drop(columns="sha256").reset_index().to_string(index=False))


def _fetch(options: argparse.Namespace) -> None:
    from scdtl.pretrained import fetch

    print(fetch(options.name))


def _info(options: argparse.Namespace) -> None:
    from scdtl.pretrained import info

    for key, value in info(options.name).items():
        print(f"{key}: {value}")
