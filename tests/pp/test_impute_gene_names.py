"""Tests of impute on data whose genes bulk knows by other names."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from scdtl.genes._tables import aliases, orthologs
from scdtl.pp import impute
from scdtl.pretrained import load_weights


@pytest.fixture(scope="module")
def ensembl_ids():
    """Ensembl id of each symbol of the human weights."""
    weights = load_weights("human")
    return dict(zip(weights.genes, weights.ensembl_ids, strict=True))


@pytest.fixture(scope="module")
def mouse(ensembl_ids):
    """One-to-one ortholog of each symbol that has one."""
    found = {
        symbol: orthologs("human", "mouse").get(name, ()) for symbol, name in ensembl_ids.items()
    }
    return {symbol: next(iter(genes)) for symbol, genes in found.items() if len(genes) == 1}


@pytest.fixture(scope="module")
def former():
    """A name of old of each symbol that has one, and that no other gene has."""
    names = {}
    for name, genes in aliases("human").items():
        if len(genes) == 1 and name.isalnum() and name.isupper():
            names.setdefault(next(iter(genes)), name)
    return names


@pytest.fixture(scope="module")
def cells(pbmc_counts, ensembl_ids, mouse, former):
    """Few cells, and genes that have every kind of name."""
    lower = {name.lower() for name in former.values()}
    names = [
        name
        for name in pbmc_counts.var_names
        if name in ensembl_ids and name in mouse and name in former
    ]
    return pbmc_counts[:60, [name for name in names if name.lower() not in lower]].copy()


def imputed(cells, names):
    renamed = cells.copy()
    renamed.var_names = names
    impute(renamed, max_epochs=0)
    return renamed


@pytest.fixture(scope="module")
def by_symbol(cells):
    return imputed(cells, cells.var_names)


def test_symbols_match_by_symbol(by_symbol):
    matched_by = by_symbol.uns["scdtl"]["weights"]["matched_by"]
    assert by_symbol.n_vars > 150
    assert matched_by == dict.fromkeys(matched_by, 0) | {"symbol": by_symbol.n_vars}


@pytest.mark.parametrize("kind", ["ensembl", "case", "alias", "ortholog", "ortholog id", "genome"])
def test_other_names_give_the_same_numbers(
    cells, by_symbol, ensembl_ids, mouse, former, kind, caplog
):
    other = {
        "ensembl": lambda name: f"{ensembl_ids[name]}.7",
        "case": str.lower,
        "alias": former.get,
        "ortholog": lambda name: mouse[name].symbol,
        "ortholog id": lambda name: mouse[name].ensembl_id,
        "genome": lambda name: f"GRCh38_{name}",
    }[kind]
    with caplog.at_level(logging.INFO, logger="scdtl"):
        result = imputed(cells, [other(name) for name in cells.var_names])
    assert np.array_equal(result.layers["scdtl"], by_symbol.layers["scdtl"])
    assert np.array_equal(result.obsm["X_scdtl"], by_symbol.obsm["X_scdtl"])
    assert result.var["scdtl_in_bulk"].to_numpy().all()
    counted = {"genome": "symbol", "ortholog id": "ortholog"}.get(kind, kind)
    assert result.uns["scdtl"]["weights"]["matched_by"][counted] == cells.n_vars
    assert f"{cells.n_vars} by " in caplog.text


def test_ambiguous_names_are_not_used_and_told(cells, caplog):
    names = ["QARS", "STRA13", *cells.var_names[2:]]
    with caplog.at_level(logging.INFO, logger="scdtl"):
        result = imputed(cells, names)
    assert result.uns["scdtl"]["weights"]["matched_by"]["ambiguous"] == 2
    assert not result.var["scdtl_in_bulk"].iloc[:2].any()
    assert "2 gene names may mean several genes" in caplog.text
    assert "QARS, STRA13" in caplog.text
    assert "2 left out as ambiguous" in caplog.text


def fully_imputed(cells, names, bulk):
    renamed = cells.copy()
    renamed.var_names = names
    impute(renamed, bulk=bulk, max_epochs=2)
    return renamed


@pytest.mark.parametrize("bulk", ["human", None])
@pytest.mark.parametrize("write", ["GRCh38_{}", "hg19-{}", "{}__chr1"])
def test_what_surrounds_names_changes_no_number(pbmc_counts, write, bulk):
    cells = pbmc_counts[:60, ::5].copy()  # some of the genes are unknown to bulk
    plain = fully_imputed(cells, cells.var_names, bulk)
    assert bulk is None or 0 < plain.var["scdtl_in_bulk"].sum() < plain.n_vars
    written = fully_imputed(cells, [write.format(name) for name in cells.var_names], bulk)
    assert np.array_equal(written.layers["scdtl"], plain.layers["scdtl"])
    assert np.array_equal(written.var["scdtl_trusted"], plain.var["scdtl_trusted"])


def test_versions_of_ids_change_no_number(pbmc_counts):
    cells = pbmc_counts[:60, :100].copy()
    ids = [f"ENSG{i:011}" for i in range(100)]
    plain = fully_imputed(cells, ids, None)
    versions = fully_imputed(cells, [f"{name}.{i}" for i, name in enumerate(ids)], None)
    assert np.array_equal(versions.layers["scdtl"], plain.layers["scdtl"])


def test_the_same_name_in_two_genomes_is_two_genes_in_any_order(pbmc_counts):
    cells = pbmc_counts[:60, :100].copy()
    symbols = list(cells.var_names[:50])
    names = [f"hg19_{name}" for name in symbols] + [f"mm10_{name}" for name in symbols]
    order = np.random.default_rng(0).permutation(100)
    result = fully_imputed(cells, names, None)
    moved = fully_imputed(cells[:, order], [names[i] for i in order], None)
    assert np.array_equal(moved.layers["scdtl"], result.layers["scdtl"][:, order])
