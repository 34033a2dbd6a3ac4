"""Tests of matching gene names to bulk weights."""

from __future__ import annotations

import logging
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdtl.genes import (
    GeneMatches,
    _tables,
    in_words,
    match_genes,
    orthologs,
    warn_of_ambiguous,
)
from scdtl.genes._search import KINDS
from scdtl.genes._tables import aliases
from scdtl.pretrained import load_weights

SYMBOLS = ["CD4", "CD3D", "MS4A1", "NKG7", "LYZ"]
ENSEMBL = ["ENSG00000010610", "ENSG00000167286", "ENSG00000156738", "", "ENSG00000090382"]


@pytest.fixture(scope="module")
def human():
    """Symbols and Ensembl ids of the human weights."""
    weights = load_weights("human")
    return weights.genes, weights.ensembl_ids


@pytest.fixture
def _no_tables(monkeypatch, _unread):
    """Fail where a table of aliases or orthologs is read."""

    def refuse(*_):
        raise AssertionError("a table was read")

    monkeypatch.setattr(_tables, "_rows", refuse)


def found(names, symbols, ensembl_ids=None, species="human"):
    """Symbol of the weights and kind of match of each name."""
    matches = match_genes(names, symbols, ensembl_ids or [""] * len(symbols), species)
    genes = [symbols[i] if i >= 0 else None for i in matches.position]
    return list(zip(genes, matches.kind, strict=True))


@pytest.mark.usefixtures("_no_tables")
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["LYZ", "CD4"], [4, 0]),
        (["ENSG00000090382", "ENSG00000010610"], [4, 0]),
        (["ENSG00000090382.12", "ENSG00000010610.1"], [4, 0]),
        (["NKG7", "ENSG00000167286.3", "ENSG00000000003"], [3, 1, -1]),
        (["CD4", "ENSG00000010610", "CD3D"], [0, -1, 1]),
        (["CD4.1", "CD3D"], [-1, 1]),
        (["CD4-1", "CD3D"], [-1, 1]),
        (["cd4", "Cd3d", "LYZ"], [0, 1, 4]),
        (["GRCh38_CD4", "hg19_ENSG00000167286", "GRCh38_Lyz"], [0, 1, 4]),
    ],
    ids=[
        "symbols",
        "Ensembl",
        "versions",
        "mixed",
        "a gene twice",
        "made unique in R",
        "made unique in Python",
        "case",
        "genome",
    ],
)
def test_names_find_their_gene_without_any_table(names, expected):
    assert np.array_equal(match_genes(names, SYMBOLS, ENSEMBL).position, expected)


def test_kinds_are_told_and_counted():
    names = ["CD4", "ENSG00000167286", "ms4a1", "GMP-17", "ENSG00000010610", "junk"]
    matches = match_genes(names, SYMBOLS, ENSEMBL)  # GMP-17: an alias of NKG7
    assert list(matches.kind) == ["symbol", "ensembl", "case", "alias", "duplicate", "unmatched"]
    assert matches.n_matched == 4
    assert list(matches.counts) == list(KINDS)
    assert sum(matches.counts.values()) == len(names)
    assert in_words(matches.counts) == (
        "1 by symbol, 1 by Ensembl id, 1 by symbol in another case, 1 by alias or former symbol, "
        "1 left out as duplicates, 1 unknown"
    )


def test_an_empty_name_or_id_matches_nothing():
    assert np.array_equal(match_genes(["", "CD4"], SYMBOLS, ENSEMBL).position, [-1, 0])


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (["ENSG00000010610", "CD4", "GMP-17", "NKG7"], [False, True, False, True]),
        (["cd4", "ENSG00000010610.2"], [False, True]),
        (["CD4", "CD4"], [True, False]),
        (["GMP-17", "nkg7"], [False, True]),
    ],
    ids=["symbol", "Ensembl", "the first of equal ones", "case"],
)
def test_the_better_kind_keeps_the_gene(names, first):
    matches = match_genes(names, SYMBOLS, ENSEMBL, "human")
    assert np.array_equal(matches.position >= 0, first)
    assert (matches.kind == "duplicate").sum() == len(names) - sum(first)


def test_of_many_equal_names_the_first_keeps_the_gene():
    symbols = [f"LOC{i}" for i in range(200)]
    position = match_genes(symbols[::-1] * 3, symbols, [""] * 200, "human").position
    assert np.array_equal(position, [*range(200)[::-1], *[-1] * 400])


# Aliases


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("AARS", "AARS1"),
        ("SEPT7", "SEPTIN7"),
        ("FAM46C", "TENT5C"),
        ("GNB2L1", "RACK1"),
        ("p53", "TP53"),
        ("C1orf63", "RSRP1"),
        ("HN1", "JPT1"),
    ],
)
def test_old_names_find_new_genes_and_new_names_old_ones(name, symbol):
    assert found([name, "CD4"], [symbol, "CD4"])[0] == (symbol, "alias")
    # p53 is an alias, which weights would not have as a symbol.
    if name != "p53":
        assert found([symbol, "CD4"], [name, "CD4"])[0] == (name, "alias")


def test_two_old_names_of_one_gene_are_the_same():
    # CDC10 and SEPT7 are former symbols of SEPTIN7.
    assert found(["CDC10", "CD4"], ["SEPT7", "CD4"])[0] == ("SEPT7", "alias")
    both = ["SEPT7", "CDC10", "CD4"]  # which of the two is meant, nobody knows
    assert found(["SEPTIN7", "CD4"], both)[0] == (None, "ambiguous")


@pytest.mark.parametrize(
    ("name", "symbols", "kind"),
    [
        ("CD16", ["FCGR3A", "FCGR3B"], "ambiguous"),
        ("CD16", ["FCGR3A"], "ambiguous"),
        ("CD16", ["LYZ"], "unmatched"),
        ("QARS", ["QARS1", "EPRS1"], "ambiguous"),
        ("TRAC", ["NCOR2"], "unmatched"),
        ("DELEC1", ["BHLHE40"], "unmatched"),
    ],
    ids=["of two", "of one known", "of none", "former of two", "in use", "in use now"],
)
def test_what_may_be_another_gene_is_not_used(name, symbols, kind):
    assert found([name, "CD4"], [*symbols, "CD4"])[0] == (None, kind)


def test_symbols_that_differ_only_by_case_are_ambiguous():
    names, symbols = ["CD4", "CTCFl"], ["CD4", "CTCFL", "ctcfl"]
    assert found(names, symbols)[1] == (None, "ambiguous")


@pytest.mark.parametrize("others", [[], ["CAT"]])
def test_a_repeat_made_unique_is_no_alias(others):
    # CAT-1 is an alias of SLC7A1; beside CAT, or where bulk knows CAT, it is a second CAT.
    assert aliases("human")["CAT-1"] == {"SLC7A1"}
    assert found([*others, "CAT-1", "CD4"], ["CAT", "SLC7A1", "CD4"])[-2] == (None, "unmatched")


@pytest.mark.parametrize("name", ["HLA-A", "MT-ND1", "NKX2-1", "MIR1-1HG"])
def test_hyphens_of_real_names_stay(name):
    assert found([name, "CD4"], ["CD4", name])[0] == (name, "symbol")


@pytest.mark.parametrize("species", ["rat", "zebrafish", "mouse"])
def test_only_human_weights_have_aliases(species):
    symbols = ["Cd4", "Tp53", "Tent5c"]
    assert found(["Cd4", "Fam46c"], symbols, species=species)[1] == (None, "unmatched")


@pytest.mark.usefixtures("_no_tables")
def test_species_without_tables_match_by_symbol_id_and_case():
    symbols, ids = ["Cd4", "Cd3d", "Lyz2"], ["ENSRNOG00000016294", "", ""]
    names = ["ENSRNOG00000016294.2", "Cd3d", "LYZ2", "Sept7", "Gapdh"]
    assert found(names, symbols, ids, "rat") == [
        ("Cd4", "ensembl"),
        ("Cd3d", "symbol"),
        ("Lyz2", "case"),
        (None, "unmatched"),
        (None, "unmatched"),
    ]


@pytest.mark.usefixtures("_no_tables")
def test_case_is_not_guessed_across_species():
    with pytest.raises(ValueError, match="Only 0 of 2"):
        match_genes(["CD4", "CD3D"], ["Cd4", "Cd3d"], ["", ""], "rat")


# What R, Seurat and others make of names

WRITTEN = ["CD3D", "HLA-A", "HLA-DRA", "MT-CO1", "NKX2-1", "AC004556.1", "RN7SK", "H1-0"]
IDS = [f"ENSG{i:011}" for i in range(len(WRITTEN))]
OF_SYMBOLS = {
    "R": lambda symbol: symbol.replace("-", "."),
    "Seurat": lambda symbol: f"GRCh38-{symbol}",
    "Seurat, then R": lambda symbol: f"GRCh38.{symbol.replace('-', '.')}",
    "underscores": lambda symbol: symbol.replace("-", "_").replace(".", "_"),
    "two genomes": lambda symbol: f"hg19_{symbol}",
    "two species": lambda symbol: f"HUMAN_{symbol}",
    "Ensembl's GFF": lambda symbol: f"gene:{symbol}",
    "NCBI's GFF": lambda symbol: f"gene-{symbol}",
    "quotes and blanks": lambda symbol: f' "{symbol}"  ',
    "CEL-Seq": lambda symbol: f"{symbol}__chr11",
    "CEL-Seq in Seurat": lambda symbol: f"{symbol}--chr11",
    "TCGA": lambda symbol: f"{symbol}|915",
}
OF_IDS = {
    "version": lambda name: f"{name}.7",
    "lifted over": lambda name: f"{name}.7_2",
    "lifted over, in Seurat": lambda name: f"{name}.7-2",
    "on Y": lambda name: f"{name}.20_PAR_Y",
    "on Y, in Seurat": lambda name: f"{name}-PAR-Y",
    "Ensembl's GFF": lambda name: f"gene:{name}",
    "no symbol": lambda name: f"{name}_NA",
}
OF_BOTH = {
    "_": lambda symbol, name: f"{name}_{symbol}",
    "-": lambda symbol, name: f"{name}-{symbol}",
    "version": lambda symbol, name: f"{name}.10|{symbol}",
    "R": lambda symbol, name: f"{name}.10.{symbol.replace('-', '.')}",
    "symbol first": lambda symbol, name: f"{symbol}_{name}",
    "symbol first, version": lambda symbol, name: f"{symbol}-{name}.3",
    "brackets": lambda symbol, name: f"{symbol} ({name})",
    "genome": lambda symbol, name: f"GRCh38_{symbol}|{name}",
}


def all_found(names, symbols, ids):
    matches = match_genes(names, symbols, ids, "human")
    return np.array_equal(matches.position, np.arange(len(symbols)))


@pytest.mark.parametrize("write", OF_SYMBOLS.values(), ids=OF_SYMBOLS)
def test_rewritten_symbols_find_their_genes_in_data_and_in_bulk(write):
    written, no_ids = [write(symbol) for symbol in WRITTEN], [""] * len(WRITTEN)
    assert all_found(written, WRITTEN, IDS)
    assert all_found(WRITTEN, written, no_ids)
    assert all_found(written, written, no_ids)


@pytest.mark.parametrize("write", OF_IDS.values(), ids=OF_IDS)
def test_rewritten_ids_find_their_genes_in_data_and_in_bulk(write):
    written, no_ids = [write(name) for name in IDS], [""] * len(IDS)
    assert all_found(written, WRITTEN, IDS)
    assert all_found(IDS, written, no_ids)
    assert all_found(IDS, WRITTEN, written)


@pytest.mark.parametrize("write", OF_BOTH.values(), ids=OF_BOTH)
def test_symbol_and_id_in_one_name_find_the_gene_by_either(write):
    written = [write(*both) for both in zip(WRITTEN, IDS, strict=True)]
    no_ids = [""] * len(IDS)
    assert all_found(written, WRITTEN, IDS)
    assert all_found(written, WRITTEN, no_ids)
    assert all_found(written, IDS, no_ids)
    for names in (IDS, WRITTEN):
        assert all_found(names, written, no_ids)


def test_rewritten_symbols_are_counted_as_such():
    names = ["CD3D", "HLA.A", "NKX2.1", "H1.0", "X7SK", "GMP.17"]
    assert found(names, [*WRITTEN, "7SK", "NKG7"]) == [
        ("CD3D", "symbol"),
        ("HLA-A", "spelling"),
        ("NKX2-1", "spelling"),
        ("H1-0", "spelling"),
        ("7SK", "spelling"),
        ("NKG7", "alias"),  # GMP-17
    ]


def test_a_symbol_that_r_wrote_goes_before_an_alias_of_the_same_letters():
    # KRTAP10.9 was an alias of KRTAP10-11, too.
    assert found(["KRTAP10.9", "CD4"], ["KRTAP10-9", "KRTAP10-11", "CD4"])[0][0] == "KRTAP10-9"
    assert found(["KRTAP10.9", "CD4"], ["KRTAP10-11", "CD4"])[0] == (None, "unmatched")


def test_what_r_writes_alike_is_ambiguous():
    assert found(["A.1", "CD4"], ["A-1", "A_1", "CD4"])[0] == (None, "ambiguous")


@pytest.mark.parametrize("name", ["AC004556.1", "HLA-A", "NKX2-1", "ERV3-1", "gene-90"])
def test_names_of_genes_are_never_taken_for_others(name, human):
    # Beside what reading them wrongly would lead to.
    symbols = ["AC004556", "HLA", "NKX2", "ERV3", "90", "CD4"]
    assert found([name, "CD4"], symbols)[0][0] is None or name == "ERV3-1"
    assert found([name, "CD4"], [*symbols, name])[0] == (name, "symbol")


@pytest.mark.parametrize("others", [["HLA.A"], ["CD4"]])
def test_repeats_that_r_numbered_are_left(others):
    names = [*others, "HLA.A.1", "CD4.1", "MIR1.1", "CD3D"]
    symbols = ["HLA-A", "CD4", "MIR1", "MIR1-1", "CD3D"]
    assert [gene for gene, _ in found(names, symbols)][1:] == [None, None, None, "CD3D"]


@pytest.mark.parametrize("date", ["1-Mar", "7-Sep", "1.Dec", "X2.Mar"])
def test_what_a_spreadsheet_took_for_a_date_is_ambiguous(date):
    names = ["MARCHF1", "MTARC1", "SEPTIN7", "DELEC1", "CD4"]
    assert found([date, "CD4"], names) == [(None, "ambiguous"), ("CD4", "symbol")]


def test_the_copy_on_y_leaves_the_gene_to_that_on_x():
    names = ["ENSG00000002586.20_PAR_Y", "ENSG00000002586.20", "CD4"]
    matches = match_genes(names, ["CD99", "CD4"], ["ENSG00000002586", ""], "human")
    assert np.array_equal(matches.position, [-1, 0, 1])
    assert matches.kind[0] == "duplicate"


def test_an_id_goes_before_the_symbol_beside_it():
    # Of the two ids of HLA-A the second one is that of another haplotype.
    names = ["ENSG00000224320_HLA-A", "ENSG00000206503_HLA-A", "ENSG00000010610_CD3D"]
    symbols, ids = ["HLA-A", "CD4", "CD3D"], ["ENSG00000206503", "ENSG00000010610", ""]
    matches = match_genes(names, symbols, ids, "human")
    assert np.array_equal(matches.position, [-1, 0, 1])
    assert matches.kind[0] == "duplicate"


@pytest.mark.parametrize(
    "name",
    [
        "ENSG00000010610-1",
        "ENSG00000010610-ENSG00000167286",
        "ENSG00000010610_ENST00000011653",
        "CD4|CD3D",
        "?|100130426",
        "hg19_",
    ],
)
def test_what_is_not_the_name_of_one_gene_is_left(name):
    matches = match_genes([name, "LYZ"], SYMBOLS, ENSEMBL, "human")
    assert list(matches.kind) == ["unmatched", "symbol"]


# Orthologs


def test_mouse_names_find_their_orthologs():
    symbols = ["CD3D", "TP53", "CD8B", "A2M"]
    names = ["Cd3d", "Trp53", "Cd8b1", "Cd8b", "ENSMUSG00000059552.4", "A2m"]
    assert found(names, symbols) == [
        ("CD3D", "ortholog"),
        ("TP53", "ortholog"),  # another name than TRP53
        (None, "unmatched"),  # two genes of human
        (None, "unmatched"),  # no gene of mouse, though of nearly the same name as one of human
        (None, "duplicate"),
        ("A2M", "ortholog"),
    ]


@pytest.mark.parametrize(
    ("name", "human"),
    [
        ("mt.Nd1", "MT-ND1"),
        ("Nkx2.1", "NKX2-1"),
        ("X1700025G04Rik", "C1orf21"),
        ("mm10---Cd3d", "CD3D"),
        ("ENSMUSG00000032094.4-Cd3d", "CD3D"),
        ("Cd3d_ENSMUSG00000099999", "CD3D"),
    ],
)
def test_mouse_names_as_other_tools_write_them_find_their_orthologs(name, human):
    assert found([name, "Cd4", "Lyz2"], [human, "CD4"])[0] == (human, "ortholog")


def test_only_orthologs_count_for_data_of_another_species():
    # TMSB4X would be found by case and CD4 by symbol, were these data of human.
    names = ["Cd3d", "Trp53", "Tmsb4x", "CD4"]
    genes = [gene for gene, _ in found(names, ["CD3D", "TP53", "TMSB4X", "CD4"])]
    assert genes == ["CD3D", "TP53", None, None]


def test_mouse_ensembl_ids_find_their_orthologs():
    ids = ["ENSG00000167286", "ENSG00000141510"]
    names = ["ENSMUSG00000032094", "ENSMUSG00000059552.12", "ENSMUSG00000099999"]
    assert found(names, ["CD3D", "anything"], ids) == [
        ("CD3D", "ortholog"),
        ("anything", "ortholog"),
        (None, "unmatched"),
    ]


def test_human_names_find_their_orthologs_in_weights_of_mouse():
    names = ["CD3D", "TP53", "ENSG00000010610", "FCGR3A"]
    symbols = ["Cd3d", "Trp53", "Cd4", "Fcgr3a"]
    for species in ("mouse", "Mus musculus", None):
        genes = [gene for gene, _ in found(names, symbols, species=species)]
        assert genes == ["Cd3d", "Trp53", "Cd4", None]


def test_the_species_of_weights_is_that_of_their_ids_whatever_their_symbols():
    ids = ["ENSMUSG00000032094", "ENSMUSG00000059552"]
    for symbols in (["1", "2"], ["CD3D", "TP53"]):
        genes = found(["CD3D", "TP53"], symbols, ids, None)
        assert genes == [(symbol, "ortholog") for symbol in symbols]


def test_single_mouse_names_among_human_ones_are_left():
    names = ["CD4", "LYZ", "NKG7", "ENSMUSG00000032094", "mm10___Ms4a1"]
    position = match_genes(names, SYMBOLS, ENSEMBL, "human").position
    assert np.array_equal(position, [0, 4, 3, -1, -1])


def test_a_mixture_of_species_keeps_both_apart():
    symbols = ["CD4", "CD3D", "TP53"]
    mouse = ["mm10___Cd4", "mm10___Cd3d", "mm10___Trp53"]
    expected = [("CD4", "symbol"), (None, "duplicate"), ("CD3D", "ortholog"), ("TP53", "ortholog")]
    assert found(["hg19_CD4", *mouse], symbols) == expected


def test_a_symbol_of_two_mouse_genes_is_ambiguous():
    # Both genes called Gm26265 have an ortholog called SNORA50A.
    assert len(orthologs("mouse", "human")["Gm26265"]) == 2
    names, symbols = ["Gm26265", "Cd4"], ["SNORA50A", "CD4"]
    assert found(names, symbols, ["ENSG00000281910", ""])[0] == ("SNORA50A", "ortholog")
    both = ["SNORA50A", "SNORA50A-2", "CD4"], ["ENSG00000281910", "ENSG00000206952", ""]
    assert found(names, *both)[0] == (None, "ambiguous")


# The weights of the package


def test_the_weights_know_all_of_their_own_names(human):
    symbols, ids = human
    for names, kind in ((symbols, "symbol"), (ids, "ensembl")):
        matches = match_genes(names, symbols, ids, "human")
        assert np.array_equal(matches.position, np.arange(len(symbols)))
        assert matches.counts[kind] == len(symbols)


def test_aliases_find_nearly_all_genes_of_an_old_annotation(pbmc_counts, human):
    matches = match_genes(list(pbmc_counts.var_names), *human, "human")
    counts = matches.counts
    assert counts["symbol"] == 690
    assert counts["alias"] == 48
    genes = np.array(human[0])[matches.position]
    by_name = dict(zip(pbmc_counts.var_names, genes, strict=True))
    assert by_name["HMHA1"] == "ARHGAP45"
    assert by_name["SEPT9"] == "SEPTIN9"
    known = dict(zip(pbmc_counts.var_names, matches.kind, strict=True))
    assert known["TMBIM4-1"] == "unmatched"  # the second TMBIM4


def test_matching_is_fast(human):
    symbols, ids = human
    names = [*symbols[::2], *ids[1::2], *list(aliases("human"))[:11_000]]
    start = time.process_time()
    match_genes(names, symbols, ids, "human")
    assert time.process_time() - start < 5  # 0.5 s on an idle core


# Whatever the names

# One name of each kind at most for a gene: of equal kinds the order decides.
NAMES = ["CD4", "ENSG00000167286.1", "cd3d", "CD20", "NKG7", "GMP-17", "nkg7", "LYZ", "CD16", "T4"]
some_names = st.lists(st.sampled_from(NAMES), unique=True)
junk = st.lists(st.from_regex(r"junk_[a-z]{1,5}", fullmatch=True), max_size=5)


@given(some_names, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_permuted_names_give_permuted_matches(names, random):
    names = ["MS4A1", *names]
    order = list(range(len(names)))
    random.shuffle(order)
    matches = match_genes(names, SYMBOLS, ENSEMBL, "human")
    permuted = match_genes([names[i] for i in order], SYMBOLS, ENSEMBL, "human")
    assert np.array_equal(permuted.position, matches.position[order])
    assert list(permuted.kind) == [matches.kind[i] for i in order]


# Few enough names that the one which is known is a tenth of them.
@given(st.lists(st.sampled_from([*NAMES, "CD4-1", "T4"]), max_size=4), junk)
@settings(deadline=None)
def test_a_gene_has_one_name_and_junk_changes_nothing(names, junk):
    names = ["LYZ", *names]
    matches = match_genes(names, SYMBOLS, ENSEMBL, "human")
    known = matches.position[matches.position >= 0]
    assert len(set(known)) == len(known) == matches.n_matched
    assert ((matches.position >= 0) == matches.kind.isin(list(KINDS)[:6])).all()
    with_junk = match_genes([*names, *junk], SYMBOLS, ENSEMBL, "human")
    assert np.array_equal(with_junk.position[: len(names)], matches.position)
    assert (with_junk.kind[len(names) :] == "unmatched").all()


# What the user is told


def test_ambiguous_names_are_told_by_example(caplog):
    names = ["CD4", "CD16", "QARS"]
    matches = match_genes(names, ["CD4", "FCGR3A", "QARS1"], ["", "", ""], "human")
    with caplog.at_level(logging.WARNING, logger="scdtl"):
        warn_of_ambiguous(names, matches)
    assert "2 gene names may mean several genes" in caplog.text
    assert "CD16, QARS. " in caplog.text


@pytest.mark.parametrize(("n", "told"), [(5, "G0, G1, G2, G3, G4. "), (6, "G3, G4, ...")])
def test_only_the_first_of_many_ambiguous_names_are_told(n, told, caplog):
    kind = pd.Categorical(["ambiguous"] * n, categories=list(KINDS))
    with caplog.at_level(logging.WARNING, logger="scdtl"):
        warn_of_ambiguous([f"G{i}" for i in range(n)], GeneMatches(np.full(n, -1), kind))
    assert told in caplog.text
    assert "G5" not in caplog.text


def test_nothing_is_told_where_all_is_clear(caplog):
    names = ["CD4", "junk"]
    with caplog.at_level(logging.INFO, logger="scdtl"):
        warn_of_ambiguous(names, match_genes(names, SYMBOLS, ENSEMBL, "human"))
    assert not caplog.text


def test_a_tenth_of_the_names_is_enough():
    names = ["CD4", *(f"other{i}" for i in range(9))]
    assert match_genes(names, SYMBOLS, ENSEMBL).n_matched == 1
    with pytest.raises(ValueError, match="Only 1 of 11 gene names match"):
        match_genes([*names, "another"], SYMBOLS, ENSEMBL)


@pytest.mark.parametrize(
    ("names", "seen", "advice"),
    [
        (["Xkr4", "Rp1", "Sox17"], "mouse symbols", "weights of mouse"),
        (
            ["ENSMUSG00000051951", "ENSMUSG00000025900.4"],
            "Ensembl gene ids of mouse",
            "weights of mouse",
        ),
        (
            ["ENSDARG00000053091", "ENSDARG00000053092"],
            "of a species other than",
            "of your species",
        ),
        (["ENST00000011653", "ENST00000300692.8"], "Ensembl transcript ids", "var_names"),
        (["ENSG00000000001", "ENSG00000000002"], "Ensembl gene ids of human", "var_names"),
        (["920", "915"], "Entrez ids or plain numbers", "var_names"),
        (["GENE0", "GENE1"], "human symbols", "var_names"),
        (["a/b", "?"], "names of an unknown kind", "var_names"),
    ],
)
def test_too_few_matches_say_what_was_seen_and_what_to_do(names, seen, advice):
    with pytest.raises(ValueError, match=f"Only 0 of {len(names)}.*{seen}") as raised:
        match_genes(names, SYMBOLS, ENSEMBL)
    message = str(raised.value)
    assert ", ".join(names) in message
    assert "CD4, CD3D, MS4A1" in message
    assert advice in message
    assert "bulk=None" in message
