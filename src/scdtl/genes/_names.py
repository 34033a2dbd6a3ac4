"""Parsing gene names: the name itself, its additions, and the species it belongs to."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from scdtl.genes._tables import species

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

# Quotes; "gene" as in GFF files of NCBI and Ensembl; a genome, as 10x Genomics writes it for
# references of several (Seurat turns its "_" to "-", R a "-" to "."); a chromosome, as pipelines
# for CEL-Seq append it; an Entrez id, as TCGA does.
_AROUND = (
    r"""(["']?)(?:gene[:-](?=[A-Za-z]))?(?:(?P<genome>{genomes})[_.-]+)?"""
    r"(?P<name>.+?)(?:(?:__|--)chr\w+|(?<=\w)\|\d+)?\1"
)
# With a version (and "_2", where it was lifted over), of the copy on Y, beside a symbol.
_ENSEMBL = re.compile(
    r"(?:(?P<before>\S*?[A-Za-z]\S*?)[_.|:;/ (-]+)?"
    r"(?P<id>(?P<kind>ENS[A-Z]*G)\d{11})(?:\.\d+(?:[_-]\d+)?)?(?:[_.-]PAR[_.-]Y)?"
    r"(?:[_.|:;/ (-]+(?P<after>\S*?[A-Za-z]\S*?))?\)?"
)
_ANY_ENSEMBL = re.compile(r"ENS[A-Z]+\d{11}")
_NO_SYMBOL = {"NA", "NaN", "nan", "None"}
_NOT_IN_R = re.compile(r"[^A-Za-z0-9]")
_MADE_UNIQUE = re.compile(r"^(.+)[-.]\d+$")
_DATE = re.compile(r"^X?\d{1,2}[-.](Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)$")


class GeneName(NamedTuple):
    """A name without its additions."""

    symbol: str  # empty where there is only an Ensembl id
    ensembl_id: str  # without version; empty where there is none
    # What genome or Ensembl id say: a species, "other" for the id of one that is not in
    # species.toml, or None for symbols, which say nothing.
    species: str | None

    @property
    def bare(self) -> str:
        """The Ensembl id, or else the symbol."""
        return self.ensembl_id or self.symbol


@lru_cache(maxsize=2**17)
def read_name(name: str) -> GeneName:
    """Read a symbol, an Ensembl gene id or both, with or without a genome or other additions.

    Examples
    --------
    >>> read_name("GRCh38_ENSG00000167286.10")
    GeneName(symbol='', ensembl_id='ENSG00000167286', species='human')
    >>> read_name("mm10___Cd3d")
    GeneName(symbol='Cd3d', ensembl_id='', species='mouse')
    >>> read_name("ENSG00000167286-CD3D")
    GeneName(symbol='CD3D', ensembl_id='ENSG00000167286', species='human')
    """
    if name.isalnum() and "ENS" not in name:  # most names, and quicker
        return GeneName(name, "", None)
    around, of_genome, of_ids = _patterns()
    whole = around.fullmatch(name.strip())
    if whole is None:
        return GeneName("", "", None)
    symbol = whole["name"]
    ensembl = _ENSEMBL.fullmatch(symbol) if "ENS" in symbol else None
    if ensembl is not None:
        beside = [part for part in (ensembl["before"], ensembl["after"]) if part]
        # Two symbols, or ids of transcripts or other genes: not the name of one gene.
        if len(beside) < 2 and not any(map(_ANY_ENSEMBL.search, beside)):
            symbol = "".join(part for part in beside if part not in _NO_SYMBOL)
            return GeneName(symbol, ensembl["id"], of_ids.get(ensembl["kind"], "other"))
    return GeneName(symbol, "", of_genome[_plain(whole["genome"])] if whole["genome"] else None)


@cache
def _patterns() -> tuple[re.Pattern, dict[str, str], dict[str, str]]:
    """Pattern of names, and the species that genomes and beginnings of Ensembl ids speak of."""
    of_genome = {_plain(name): of for of, row in species().items() for name in row.genomes}
    # Seurat and R rewrite what is inside "Rnor_6.0" as well.
    genomes = "|".join(name.replace("_", "[_.-]") for name in of_genome)
    around = re.compile(_AROUND.format(genomes=f"(?i:{genomes})"), re.DOTALL)
    return around, of_genome, {row.ensembl: of for of, row in species().items()}


def _plain(genome: str) -> str:
    return re.sub("[_.-]", "_", genome).lower()


def species_of(names: Iterable[GeneName], own: str | None = None) -> str | None:
    """The species that most names speak of or are written like, ``"other"``, or None.

    Symbols count by their letters: ``CD3D`` is written like human's, ``Cd3d`` like mouse's. Those
    written as the species `own` writes them are taken for its own.
    """
    rows = species()
    forms = {of: re.compile(rows[of].symbols) for of in sorted(rows, key=lambda of: of != own)}

    def written_like(symbol: str) -> str | None:
        return next((of for of, form in forms.items() if form.fullmatch(symbol)), None)

    votes = Counter(name.species or written_like(name.symbol) for name in names)
    return next((of for of, n in votes.items() if of and n > votes.total() / 2), None)


def common_name(stated: str | None) -> str | None:
    """The species as this package writes it, lower case and English, of what weights state."""
    if stated is None:
        return None
    lower = str(stated).strip().lower().replace("_", " ")
    return next((name for name, row in species().items() if row.latin.lower() == lower), lower)


def as_in_r(symbol: str) -> str:
    """Write a symbol as R's ``make.names`` does, and Seurat's dashes as dots.

    Examples
    --------
    >>> as_in_r("HLA-A"), as_in_r("7SK"), as_in_r("5S-rRNA"), as_in_r("CD3D")
    ('HLA.A', 'X7SK', 'X5S.rRNA', 'CD3D')
    """
    if not symbol[:1].isalpha():
        symbol = f"X{symbol}"
    return symbol if symbol.isalnum() else _NOT_IN_R.sub(".", symbol)


def made_unique(name: str, known: Container[str]) -> bool:
    """Tell whether a name is a known one and a number, as ``var_names_make_unique`` makes them.

    ``CAT-1`` looks like this, which is an alias of SLC7A1 too.
    """
    part = _MADE_UNIQUE.match(name)
    return part is not None and part[1] in known


def is_date(name: str) -> bool:
    """Tell whether a spreadsheet took a symbol for a date, as ``1-Mar`` (MARCH1 or MARC1)."""
    return _DATE.match(name) is not None


def describe(names: Sequence[str]) -> str:
    """Say in words what kind of names most of them are."""
    rows = species()
    namings = {
        "Ensembl transcript ids": r"ENS[A-Z]*T\d{11}.*",
        **{f"Ensembl gene ids of {of}": rf"{row.ensembl}\d{{11}}.*" for of, row in rows.items()},
        f"Ensembl gene ids of a species other than {' or '.join(rows)}": r"ENS[A-Z]+G\d{11}.*",
        "Entrez ids or plain numbers": r"\d+",
        **{f"{of} symbols": row.symbols for of, row in rows.items()},
    }
    bare = [read_name(name).bare for name in names]
    for description, pattern in namings.items():
        if sum(bool(re.fullmatch(pattern, name)) for name in bare) > len(bare) / 2:
            return description
    return "names of an unknown kind"
