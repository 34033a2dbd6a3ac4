"""Tests of reading gene names."""

from __future__ import annotations

import pytest

from scdtl.genes import as_in_r, read_name
from scdtl.genes._names import common_name, made_unique, species_of
from scdtl.genes._tables import aliases, orthologs
from scdtl.pretrained import load_weights


@pytest.mark.parametrize(
    ("name", "symbol", "ensembl_id", "species"),
    [
        ("CD3D", "CD3D", "", None),
        ("ENSG00000167286", "", "ENSG00000167286", "human"),
        ("ENSG00000167286.10", "", "ENSG00000167286", "human"),
        ("ENSMUSG00000032094.4", "", "ENSMUSG00000032094", "mouse"),
        ("ENSDARG00000053091", "", "ENSDARG00000053091", "other"),
        ("GRCh38_CD3D", "CD3D", "", "human"),
        ("hg19_CD3D", "CD3D", "", "human"),
        ("hg19.HLA.A", "HLA.A", "", "human"),
        ("mm10___Cd3d", "Cd3d", "", "mouse"),
        ("GRCm39_ENSMUSG00000032094", "", "ENSMUSG00000032094", "mouse"),
        ("ENSG00000167286.10-CD3D", "CD3D", "ENSG00000167286", "human"),
        ("HLA-A (ENSG00000206503)", "HLA-A", "ENSG00000206503", "human"),
        ("HLA-A", "HLA-A", "", None),
        ("RP11-34P13.7", "RP11-34P13.7", "", None),
        ("ENSG00000167286-1", "ENSG00000167286-1", "", None),
        ("ENSG00000002586.20_PAR_Y", "", "ENSG00000002586", "human"),
        ("hg19_", "hg19_", "", None),
        ("'C-K-RAS", "'C-K-RAS", "", None),
        ("", "", "", None),
        ("  ", "", "", None),
        ("a\nb", "a\nb", "", None),
    ],
)
def test_a_name_is_read(name, symbol, ensembl_id, species):
    assert read_name(name) == (symbol, ensembl_id, species)
    assert read_name(name).bare == (ensembl_id or symbol)


def test_no_name_of_a_gene_is_damaged():
    weights = load_weights("human")
    names = {*weights.genes, *weights.ensembl_ids, *aliases("human"), *orthologs("mouse", "human")}
    assert len(names) > 100_000
    assert not [name for name in names if read_name(name).bare != name]


@pytest.mark.parametrize(
    ("name", "in_r"),  # the results of R's make.names
    [
        ("HLA-A", "HLA.A"),
        ("7SK", "X7SK"),
        ("5S_rRNA", "X5S_rRNA"),
        ("1700025G04Rik", "X1700025G04Rik"),
        ("Gt(ROSA)26Sor", "Gt.ROSA.26Sor"),
        ("1/2-SBSRNA4", "X1.2.SBSRNA4"),
        ("CD3D", "CD3D"),
    ],
)
def test_a_name_and_what_r_makes_of_it_are_the_same(name, in_r):
    assert as_in_r(name) == as_in_r(in_r)
    assert as_in_r(name) != as_in_r(f"{name}1")


@pytest.mark.parametrize(
    ("names", "species"),
    [
        (["CD3D", "HLA-A", "C1orf112"], "human"),
        (["Cd3d", "H2-Ab1", "Trp53", "mt-Nd1", "A2m"], "mouse"),
        (["ENSMUSG00000032094", "ENSG00000167286", "ENSMUSG00000059552"], "mouse"),
        (["mm10___Cd3d", "mm10___Trp53", "hg19_CD3D"], "mouse"),
        (["ENSDARG00000053091", "ENSDARG00000053092", "CD3D"], "other"),
        (["cd3d", "cd4"], None),
        (["CD3D", "Cd3d"], None),
        ([], None),
    ],
)
def test_the_majority_tells_the_species(names, species):
    assert species_of(map(read_name, names)) == species


def test_pbmc_names_are_human(pbmc_counts):
    assert species_of(map(read_name, pbmc_counts.var_names)) == "human"


@pytest.mark.parametrize(
    ("name", "is_made_unique"),
    [("CAT-1", True), ("CAT.1", True), ("CAT", False), ("NKX2-1", False), ("HLA-A", False)],
)
def test_a_known_name_and_a_number_is_a_repeat(name, is_made_unique):
    assert made_unique(name, {"CAT", "HLA"}) == is_made_unique


@pytest.mark.parametrize(
    ("stated", "species"),
    [("Homo sapiens", "human"), ("mus_musculus", "mouse"), ("Rat", "rat"), (None, None)],
)
def test_species_have_one_name(stated, species):
    assert common_name(stated) == species
