"""Tests of reading gene names."""

from __future__ import annotations

import pytest

from scdtl.pretrained._names import common_name, made_unique, read_name, species_of


@pytest.mark.parametrize(
    ("name", "bare", "species", "is_ensembl"),
    [
        ("CD3D", "CD3D", None, False),
        ("ENSG00000167286", "ENSG00000167286", "human", True),
        ("ENSG00000167286.10", "ENSG00000167286", "human", True),
        ("ENSMUSG00000032094.4", "ENSMUSG00000032094", "mouse", True),
        ("ENSDARG00000053091", "ENSDARG00000053091", "other", True),
        ("GRCh38_CD3D", "CD3D", "human", False),
        ("hg19_CD3D", "CD3D", "human", False),
        ("mm10___Cd3d", "Cd3d", "mouse", False),
        ("GRCm39_ENSMUSG00000032094", "ENSMUSG00000032094", "mouse", True),
        ("HLA-A", "HLA-A", None, False),
        ("RP11-34P13.7", "RP11-34P13.7", None, False),
        ("ENSG00000167286-1", "ENSG00000167286-1", None, False),
        ("ENSG00000002586.20_PAR_Y", "ENSG00000002586.20_PAR_Y", None, False),
        ("hg19_", "hg19_", None, False),
        ("", "", None, False),
    ],
)
def test_a_name_is_read(name, bare, species, is_ensembl):
    assert read_name(name) == (bare, species, is_ensembl)


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
