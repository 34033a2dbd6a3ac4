"""Matching a data set's gene names to the genes of bulk weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scdtl.genes._names import common_name, describe, is_date, read_name, species_of
from scdtl.genes._search import (
    KINDS,
    SEVERAL,
    Search,
    in_table,
    look_up_orthologs,
    look_up_rewritten,
    positions,
)
from scdtl.genes._tables import with_orthologs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from scdtl.genes._names import GeneName

logger = logging.getLogger(__name__)

MIN_MATCHED_FRACTION = 0.1
_N_EXAMPLES = 5


@dataclass(frozen=True, eq=False)
class GeneMatches:
    """Which gene of the weights each name of a data set was matched to, and how.

    Attributes
    ----------
    position
        Position among the genes of the weights, one per name; -1 where there is none.
    kind
        How the name was matched: ``"symbol"``, ``"ensembl"``, ``"case"``, ``"spelling"``,
        ``"alias"`` or ``"ortholog"``; or why it was not: ``"duplicate"`` (another name matched the
        same gene better or earlier), ``"ambiguous"`` (several genes share the name) or
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

    Names are tried as, in this order: symbol; Ensembl gene id, with or without version; symbol in
    another case; symbol as R or Seurat write it (``HLA.A``); former symbol or alias of a human
    gene; one-to-one ortholog. If most names are from a species other than that of the weights, its
    names are matched by orthologs only. Additions to a name are ignored: a genome
    (``GRCh38_CD3D``, ``mm10___Cd3d``), a chromosome, quotes, the symbol next to an id.

    Parameters
    ----------
    names
        Gene names of the data.
    symbols, ensembl_ids
        Names of the genes of the weights; Ensembl ids are empty where unknown.
    species
        Species of the weights; ``None`` guesses it from their names. Aliases are known for human,
        orthologs between human and mouse.

    Returns
    -------
    Positions and kinds of the matches. A gene of the weights is matched to one name only: the one
    found first in the order above; among equals, the one with the fewest additions, then the
    first. Ambiguous names are not used.

    Raises
    ------
    ValueError
        If less than 10 % of the names match.

    Notes
    -----
    The tables of aliases and orthologs are read, once per session, only if some names are still
    unmatched.

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
    import pandas as pd

    names = [str(name) for name in names]
    read = [read_name(name) for name in names]
    genes = [read_name(symbol) for symbol in symbols]
    ids = [read_name(name) for name in ensembl_ids]
    by_symbol = positions(gene.symbol or gene.bare for gene in genes)
    by_id = positions(
        given.bare or gene.ensembl_id for given, gene in zip(ids, genes, strict=True)
    )
    written_like = (species_of(name for name in ids if name.bare), species_of(genes))
    own = common_name(species) or written_like[0] or written_like[1]
    of_data = species_of(read, own)
    of_own, of_other = _by_species(read, own, of_data)

    search = Search(names, read)
    bare = {i: read[i].bare for i in of_own}
    search.look_up("symbol", bare, in_table(by_symbol))
    search.look_up("ensembl", bare, in_table(by_id))
    search.look_up("symbol", search.beside_ids(of_own), in_table(by_symbol))
    if of_data in ((own, None) if own in with_orthologs() else written_like):
        look_up_rewritten(search, of_own, by_symbol, own)
    if of_other:
        look_up_orthologs(search, of_other, (str(of_data), str(own)), by_symbol, by_id)
    dates = {i: name.symbol for i, name in enumerate(read) if is_date(name.symbol)}
    search.look_up("ambiguous", dates, lambda _: SEVERAL)

    position, codes = search.result()
    kinds: pd.Index = pd.Index(KINDS)
    matches = GeneMatches(position, pd.Categorical.from_codes(codes, kinds))
    if matches.n_matched < MIN_MATCHED_FRACTION * len(names):
        raise ValueError(_too_few(names, symbols, matches.n_matched, own, of_data))
    return matches


def warn_of_ambiguous(names: Sequence[str], matches: GeneMatches) -> None:
    """Log which names were not used because several genes share them."""
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
    """Say how many genes were matched in which way."""
    return ", ".join(f"{n} {KINDS[kind]}" for kind, n in counts.items() if n)


def _by_species(
    names: Sequence[GeneName], own: str | None, of_data: str | None
) -> tuple[list[int], list[int]]:
    """Indices of the names of the weights' species, and of those that may have orthologs."""
    if own not in with_orthologs():
        return list(range(len(names))), []
    is_other = of_data in with_orthologs() and of_data != own
    # A name is of the data's species, unless it says itself of which it is.
    unsaid = of_data if is_other else own
    species = [name.species or unsaid for name in names]
    return (
        [i for i, of_name in enumerate(species) if of_name == own],
        [i for i, of_name in enumerate(species) if is_other and of_name == of_data],
    )


def _too_few(
    names: Sequence[str],
    symbols: Sequence[str],
    n_matched: int,
    own: str | None,
    of_data: str | None,
) -> str:
    known = with_orthologs()
    if own in known and of_data not in (own, None):
        theirs = of_data if of_data in known else "your species"
        advice = (
            f"Pass weights of {theirs} to bulk= (these are of {own}; orthologs are known between "
            f"{', '.join(known[:-1])} and {known[-1]} only), or bulk=None."
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
