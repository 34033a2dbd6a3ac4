"""Tests of matching gene names to bulk weights."""

from __future__ import annotations

import numpy as np
import pytest

from scdtl.pretrained import match_genes

SYMBOLS = ["CD4", "CD3D", "MS4A1", "NKG7", "LYZ"]
ENSEMBL = ["ENSG00000010610", "ENSG00000167286", "ENSG00000156738", "", "ENSG00000090382"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["LYZ", "CD4"], [4, 0]),
        (["ENSG00000090382", "ENSG00000010610"], [4, 0]),
        (["ENSG00000090382.12", "ENSG00000010610.1"], [4, 0]),
        (["NKG7", "ENSG00000167286.3", "OTHER"], [3, 1, -1]),
        (["CD4", "ENSG00000010610", "CD3D"], [0, -1, 1]),
        (["CD4.1", "CD3D"], [-1, 1]),
        (["cd4", "CD3D"], [-1, 1]),
    ],
    ids=["symbols", "Ensembl", "versions", "mixed", "a gene twice", "made unique", "case"],
)
def test_names_find_their_gene(names, expected):
    assert np.array_equal(match_genes(names, SYMBOLS, ENSEMBL), expected)


def test_an_empty_ensembl_id_matches_nothing():
    assert np.array_equal(match_genes(["", "CD4"], SYMBOLS, ENSEMBL), [-1, 0])


def test_a_tenth_of_the_names_is_enough():
    names = ["CD4", *(f"other{i}" for i in range(9))]
    assert (match_genes(names, SYMBOLS, ENSEMBL) >= 0).sum() == 1
    with pytest.raises(ValueError, match="Only 1 of 11 gene names match"):
        match_genes([*names, "another"], SYMBOLS, ENSEMBL)


@pytest.mark.parametrize(
    ("names", "seen"),
    [
        (["Cd4", "Cd3d", "Ms4a1"], "mouse symbols"),
        (["ENSMUSG00000023274", "ENSMUSG00000032094.4"], "Ensembl gene ids of another species"),
        (["ENST00000011653", "ENST00000300692.8"], "Ensembl transcript ids"),
        (["ENSG00000000001", "ENSG00000000002"], "Ensembl gene ids of human"),
        (["920", "915"], "Entrez ids or plain numbers"),
        (["GENE0", "GENE1"], "upper-case symbols"),
        (["a/b", "?"], "no naming that scdtl knows"),
    ],
)
def test_too_few_matches_say_what_was_seen_and_what_to_do(names, seen):
    with pytest.raises(ValueError, match=f"Only 0 of {len(names)}.*{seen}") as raised:
        match_genes(names, SYMBOLS, ENSEMBL)
    message = str(raised.value)
    assert names[0] in message
    assert "CD4" in message
    assert "var_names" in message
    assert "bulk=None" in message
