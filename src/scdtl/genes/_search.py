"""Name lookup: in the weights, in other spellings, and in the tables of aliases and orthologs."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from scdtl.genes._names import as_in_r, made_unique
from scdtl.genes._tables import aliases, orthologs

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from scdtl.genes._names import GeneName

KINDS = {
    "symbol": "by symbol",
    "ensembl": "by Ensembl id",
    "case": "by symbol in another case",
    "spelling": "by symbol as R or Seurat write it",
    "alias": "by alias or former symbol",
    "ortholog": "by ortholog",
    "duplicate": "left out as duplicates",
    "ambiguous": "left out as ambiguous",
    "unmatched": "unknown",
}
_CODES = {kind: code for code, kind in enumerate(KINDS)}
_UNKNOWN, SEVERAL = -1, -2


class Search:
    """The names of a data set, looked up in one table after the other until they are found."""

    def __init__(self, names: Sequence[str], read: Sequence[GeneName]) -> None:
        self.read = read
        self.symbols = {name.symbol for name in read}
        self._n_around = np.array([len(n) - len(r.bare) for n, r in zip(names, read, strict=True)])
        self._position = np.full(len(read), _UNKNOWN)
        self._kind = np.full(len(read), _CODES["unmatched"], dtype=np.int8)
        self._turn = np.zeros(len(read), dtype=int)
        self._n_turns = 0

    def beside_ids(self, indices: Iterable[int]) -> dict[int, str]:
        """Symbols of names that have an Ensembl id as well."""
        names = ((i, self.read[i]) for i in indices)
        return {i: name.symbol for i, name in names if name.ensembl_id and name.symbol}

    def open_symbols(self, indices: Iterable[int], known: Container[str]) -> dict[int, str]:
        """Symbols that are not matched yet, except repeats of known ones."""
        symbols = ((i, self.read[i].symbol) for i in indices if self._position[i] < 0)
        return {i: name for i, name in symbols if name and not made_unique(name, known)}

    def look_up(self, kind: str, names: Mapping[int, str], find: Callable[[str], int]) -> None:
        """Give names the gene that is found; what has several, a later search may find."""
        self._n_turns += 1
        for i, name in names.items():
            if self._position[i] >= 0:
                continue
            position = find(name)
            if position >= 0:
                self._position[i], self._kind[i] = position, _CODES[kind]
                self._turn[i] = self._n_turns
            elif position == SEVERAL:
                self._kind[i] = _CODES["ambiguous"]

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions and codes of kinds; each gene of the weights is left to its first name."""
        position, kind = self._position.copy(), self._kind.copy()
        matched = np.flatnonzero(position >= 0)
        matched = matched[np.lexsort((self._n_around[matched], self._turn[matched]))]
        first = np.unique(position[matched], return_index=True)[1]
        duplicate = np.delete(matched, first)
        position[duplicate], kind[duplicate] = _UNKNOWN, _CODES["duplicate"]
        return position, kind


def look_up_rewritten(
    search: Search, indices: Sequence[int], by_symbol: Mapping[str, int], own: str | None
) -> None:
    """Look up symbols in another case, as R writes them, and that were renamed."""
    known, find_symbol = by_symbol.keys() | search.symbols, in_table(by_symbol)
    for kind, rewrite in (("case", str.lower), ("spelling", as_in_r)):
        if rest := search.open_symbols(indices, known):
            search.look_up(kind, rest, _as_rewritten(by_symbol, rest, find_symbol, rewrite))
    rest = search.open_symbols(indices, known)
    if rest and (meanings := aliases(str(own))):
        by_current = _by_current(by_symbol, meanings)

        def find(name: str) -> int:
            genes = meanings.get(name, frozenset([name]))
            return _one_of({by_current.get(gene, _UNKNOWN) for gene in genes})

        search.look_up("alias", rest, find)
        if rest := search.open_symbols(indices, known):
            for names in (by_current, meanings):
                search.look_up("alias", rest, _as_rewritten(names, rest, find))


def look_up_orthologs(
    search: Search,
    indices: Sequence[int],
    species: tuple[str, str],
    by_symbol: Mapping[str, int],
    by_id: Mapping[str, int],
) -> None:
    """Look up names of another species, given that and the species of the weights."""
    of_name = orthologs(*species)

    def find(name: str) -> int:
        return _one_of(
            {
                by_id.get(gene.ensembl_id, by_symbol.get(gene.symbol, _UNKNOWN))
                for gene in of_name.get(name, ())
            }
        )

    search.look_up("ortholog", {i: search.read[i].bare for i in indices}, find)
    search.look_up("ortholog", search.beside_ids(indices), find)
    if rest := search.open_symbols(indices, of_name.keys() | search.symbols):
        search.look_up("ortholog", rest, _as_rewritten(of_name, rest, find))


def positions(keys: Iterable[str]) -> dict[str, int]:
    """Position of each key; the empty one has none, repeated ones have several."""
    table: dict[str, int] = {}
    for position, key in enumerate(keys):
        table[key] = SEVERAL if key in table else position
    table.pop("", None)
    return table


def in_table(table: Mapping[str, int]) -> Callable[[str], int]:
    return lambda name: table.get(name, _UNKNOWN)


def _as_rewritten(
    known: Iterable[str],
    asked: Mapping[int, str],
    find: Callable[[str], int],
    rewrite: Callable[[str], str] = as_in_r,
) -> Callable[[str], int]:
    """Find a name among the known ones by what both are when they are rewritten."""
    wanted = {rewrite(name) for name in asked.values()}
    same = defaultdict(list)
    for name in known:
        if (rewritten := rewrite(name)) in wanted:
            same[rewritten].append(name)
    return lambda name: _one_of({find(other) for other in same.get(rewrite(name), ())})


def _by_current(
    by_symbol: Mapping[str, int], meanings: Mapping[str, frozenset[str]]
) -> dict[str, int]:
    """Position of each gene by its current symbol, whatever that of the weights."""
    by_current: dict[str, int] = {}
    for symbol, position in by_symbol.items():
        genes = meanings.get(symbol, frozenset([symbol]))
        if len(genes) == 1:
            gene = next(iter(genes))
            by_current[gene] = SEVERAL if gene in by_current else position
    return by_current | {gene: by_symbol[gene] for gene in by_current.keys() & by_symbol.keys()}


def _one_of(positions: set[int]) -> int:
    """Position of what a name may mean; several if one is known to the weights, but not alone."""
    if len(positions) > 1:
        return SEVERAL
    return next(iter(positions), _UNKNOWN)
