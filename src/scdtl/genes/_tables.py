"""Tables about species: how they write genes, former symbols and aliases, orthologs."""

from __future__ import annotations

import gzip
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")

FOLDER = Path(__file__).parent
# Every table of orthologs leads to this species; those of two others meet in it.
_HUB = "human"


@dataclass(frozen=True, kw_only=True)
class Species:
    """A table of ``species.toml``, which says what the fields are."""

    latin: str
    ensembl: str
    genomes: list[str]
    symbols: str
    aliases: str | None = None
    orthologs: str | None = None


class Ortholog(NamedTuple):
    """A gene of another species: Ensembl id and symbol, empty where there is none."""

    ensembl_id: str
    symbol: str


@cache
def species() -> dict[str, Species]:
    """Species by name, in the order of ``species.toml``."""
    rows = tomllib.loads((FOLDER / "species.toml").read_text(encoding="utf-8"))
    return {name: Species(**row) for name, row in rows.items()}


@cache
def with_orthologs() -> tuple[str, ...]:
    """Names of the species whose genes find one another by their orthologs."""
    return tuple(name for name, row in species().items() if name == _HUB or row.orthologs)


@cache
def aliases(of: str) -> dict[str, frozenset[str]]:
    """Read the symbols that each former symbol or alias of a species may mean, once per session.

    Nothing for species without a table. A symbol in use is no alias, however R would write it.
    """
    row = species().get(of)
    if row is None or row.aliases is None:
        return {}
    return _by_name((names, gene) for gene, *names in _rows(row.aliases))


@cache
def orthologs(source: str, target: str) -> dict[str, frozenset[Ortholog]]:
    """Read the one-to-one orthologs of two species, by Ensembl id and by symbol, once per session.

    There are several where genes share a symbol.
    """
    if source == _HUB:
        pairs = list(_in_human(target).items())
    elif target == _HUB:
        pairs = [(gene, human) for human, gene in _in_human(source).items()]
    else:
        others = _in_human(target)
        pairs = [(gene, others[h]) for h, gene in _in_human(source).items() if h in others]
    return _by_name(pairs)


def _in_human(name: str) -> dict[Ortholog, Ortholog]:
    """A species' gene by the human one."""
    file = species()[name].orthologs
    if file is None:
        return {}
    return {Ortholog(*row[2:]): Ortholog(*row[:2]) for row in _rows(file)}


def _rows(file: str) -> list[list[str]]:
    """Rows of a table, without the lines at its head that say where it is from."""
    lines = gzip.decompress((FOLDER / file).read_bytes()).decode().rstrip("\n").split("\n")
    return [line.split("\t") for line in lines if not line.startswith("#")]


def _by_name(named: Iterable[tuple[Iterable[str], T]]) -> dict[str, frozenset[T]]:
    """All things of each name, given each thing's names; empty ones are none."""
    things: dict[str, frozenset[T]] = {}
    for names, thing in named:
        one = frozenset([thing])
        for name in names:
            things[name] = things[name] | one if name in things else one
    things.pop("", None)
    return things
