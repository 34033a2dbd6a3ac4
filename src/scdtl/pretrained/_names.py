"""Reading a gene name: which kind of name it is, and of which species."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

# References of several species, as 10x Genomics builds them, say the genome before the name.
_GENOME = re.compile(r"^(GRCh3[78]|hg(?:19|38)|GRCm3[89]|mm(?:9|10|39))_+(?=.)")
_ENSEMBL = re.compile(r"^ENS([A-Z]*)G\d{11}(?:\.\d+)?$")
_SPECIES_OF_ENSEMBL = {"": "human", "MUS": "mouse"}
_WRITTEN = {
    "human": re.compile(r"^[A-Z][A-Z0-9.-]+$"),
    "mouse": re.compile(r"^[A-Z][a-z0-9]+[a-z0-9-]*$"),
}
_LATIN = {"homo sapiens": "human", "mus musculus": "mouse"}
_MADE_UNIQUE = re.compile(r"^(.+)[-.]\d+$")
_NAMINGS = {
    "Ensembl transcript ids": r"^ENS[A-Z]*T\d{11}",
    "Ensembl gene ids of human": r"^ENSG\d{11}",
    "Ensembl gene ids of mouse": r"^ENSMUSG\d{11}",
    "Ensembl gene ids of another species than human or mouse": r"^ENS[A-Z]+G\d{11}",
    "Entrez ids or plain numbers": r"^\d+$",
    "upper-case symbols": _WRITTEN["human"].pattern,
    "mouse symbols (Capitalised)": _WRITTEN["mouse"].pattern,
}


class GeneName(NamedTuple):
    """A name without what surrounds it.

    Attributes
    ----------
    bare
        The name without genome, and an Ensembl id without version.
    species
        What the genome or the Ensembl id says: ``"human"``, ``"mouse"``, ``"other"``, or
        ``None`` for symbols, which say nothing.
    is_ensembl
        Whether it is an Ensembl gene id.
    """

    bare: str
    species: str | None
    is_ensembl: bool


def read_name(name: str) -> GeneName:
    """Read one name.

    Parameters
    ----------
    name
        Symbol or Ensembl gene id, with or without the genome before it.

    Examples
    --------
    >>> read_name("GRCh38_ENSG00000167286.10")
    GeneName(bare='ENSG00000167286', species='human', is_ensembl=True)
    >>> read_name("mm10___Cd3d")
    GeneName(bare='Cd3d', species='mouse', is_ensembl=False)
    """
    genome = _GENOME.match(name)
    species = None
    if genome:
        species = "mouse" if genome[1].startswith(("mm", "GRCm")) else "human"
        name = name[genome.end() :]
    ensembl = _ENSEMBL.match(name)
    if ensembl:
        species = _SPECIES_OF_ENSEMBL.get(ensembl[1], "other")
        name = name.partition(".")[0]
    return GeneName(name, species, bool(ensembl))


def species_of(names: Iterable[GeneName]) -> str | None:
    """Return the species that more than half of the names speak of or are written like.

    Parameters
    ----------
    names
        Names that were read. Symbols count by their letters: ``CD3D`` is written like human's,
        ``Cd3d`` like mouse's.

    Returns
    -------
    ``"human"``, ``"mouse"``, ``"other"``, or ``None`` where there is no majority.

    Examples
    --------
    >>> species_of(map(read_name, ["Cd3d", "mt-Nd1", "Trp53"]))
    'mouse'
    """
    n_names = 0
    votes = {"human": 0, "mouse": 0, "other": 0}
    for name in names:
        n_names += 1
        species = name.species or _as_written(name.bare)
        if species:
            votes[species] += 1
    return next((species for species, n in votes.items() if n > n_names / 2), None)


def _as_written(symbol: str) -> str | None:
    return next((species for species, form in _WRITTEN.items() if form.match(symbol)), None)


def common_name(species: str | None) -> str | None:
    """Return the species' name as this package writes it: lower case, English.

    Parameters
    ----------
    species
        Name as the provenance of weights states it, or ``None``.
    """
    if species is None:
        return None
    lower = str(species).strip().lower().replace("_", " ")
    return _LATIN.get(lower, lower)


def made_unique(name: str, known: Container[str]) -> bool:
    """Tell whether a name looks like a repeat that ``var_names_make_unique`` numbered.

    Parameters
    ----------
    name
        Name of the data, without genome.
    known
        Names that might have been repeated: those of the data and of the weights.

    Returns
    -------
    Whether it is a known name and a number, as ``CAT-1`` is, which is an alias of SLC7A1 too.
    """
    part = _MADE_UNIQUE.match(name)
    return part is not None and part[1] in known


def describe(names: Sequence[str]) -> str:
    """Say in words which naming most of the names follow.

    Parameters
    ----------
    names
        Names of the data.
    """
    bare = [read_name(name).bare for name in names]
    for description, pattern in _NAMINGS.items():
        if sum(bool(re.match(pattern, name)) for name in bare) > len(bare) / 2:
            return description
    return "names of no naming that scdtl knows"
