"""Tests of bulk="auto": which weights are taken, what is told, and when none are."""

from __future__ import annotations

import json
import logging
import re

import anndata
import numpy as np
import pytest

from scdtl.datasets import toy
from scdtl.pp import impute, impute_unmeasured
from scdtl.pretrained import available
from scdtl.tl import evaluate

ZERO_SHOT = {"max_epochs": 0, "verbose": False}


@pytest.fixture
def cells(pbmc_counts):
    return pbmc_counts[::3].copy()


def taken(adata, **options):
    return impute(adata, bulk="auto", copy=True, **(ZERO_SHOT | options)).uns["scdtl"]


def test_the_choice_is_recorded_and_scores_are_told(cells, caplog):
    with caplog.at_level(logging.INFO, logger="scdtl"):
        entry = taken(cells)
    assert entry["params"]["bulk"] == "auto"
    (line,) = (record.getMessage() for record in caplog.records if "auto" in record.getMessage())
    name = re.match(r"bulk='auto': '([\w-]+)' is taken\.", line).group(1)
    assert entry["weights"]["name"] == name
    scores = {of: float(score) for of, score in re.findall(r"'([\w-]+)' (-?[\d.]+) %", line)}
    assert set(scores) == set(available().query("local").index)
    assert scores[name] == max(scores.values())


def test_human_blood_does_not_take_mouse(pbmc_counts):
    assert taken(pbmc_counts)["weights"]["name"] != "mouse"


def test_the_numbers_are_those_of_the_choice_by_its_name(cells):
    auto = impute(cells, bulk="auto", max_epochs=1, verbose=False, copy=True)
    name = auto.uns["scdtl"]["weights"]["name"]
    named = impute(cells, bulk=name, max_epochs=1, verbose=False, copy=True)
    assert np.array_equal(auto.layers["scdtl"], named.layers["scdtl"])


def test_the_choice_follows_the_cells_and_not_their_order_or_the_seed(pbmc_counts, caplog):
    rng = np.random.default_rng(0)
    shuffled = pbmc_counts[rng.permutation(700)][:, rng.permutation(765)].copy()
    lines = []
    for adata, seed in ((pbmc_counts, 0), (shuffled, 5)):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="scdtl"):
            taken(adata, random_state=seed)
        lines += [line for line in caplog.messages if "auto" in line]
    assert lines[0] == lines[1]


def test_only_weights_on_this_machine_compete(cells, toy_registry, caplog):
    content = json.loads(toy_registry.read_text())
    content["weights"]["elsewhere"] = content["weights"]["human"] | {"file": "no.safetensors"}
    toy_registry.write_text(json.dumps(content))
    with caplog.at_level(logging.INFO, logger="scdtl"):
        taken(cells)
    assert "'human'" in caplog.text
    assert "elsewhere" not in caplog.text


@pytest.mark.usefixtures("toy_registry")
def test_weights_of_the_genes_at_hand_win(toy_weights_file, monkeypatch):
    monkeypatch.setenv("SCDTL_BASE_URL", str(toy_weights_file.parent))
    assert taken(toy())["weights"]["name"] == "toy"
    panel = toy()[:, :30].copy()
    result = impute_unmeasured(panel, **ZERO_SHOT)
    assert result.uns["scdtl"]["weights"]["name"] == "toy"
    assert result.uns["scdtl"]["params"]["bulk"] == "auto"
    assert result.n_vars == 10


def test_batches_layers_and_other_features_do_not_disturb(cells):
    cells.obs["lane"] = ["a", "b", "c"] * 78
    cells.layers["counts"] = cells.X.copy()
    cells.X = None
    cells.var["feature_types"] = ["Antibody Capture"] + ["Gene Expression"] * 764
    assert taken(cells, batch_key="lane", layer="counts")["weights"]["name"] != "mouse"


def test_counts_in_a_file_choose_as_in_memory(cells, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    impute(backed, bulk="auto", lazy=True, **ZERO_SHOT)
    assert backed.uns["scdtl"]["weights"]["name"] == taken(cells)["weights"]["name"]


def test_genes_that_no_weights_know_are_refused_with_advice_that_works(toy_bulk_model):
    adata = toy()
    before = adata.copy()
    with pytest.raises(
        ValueError, match="none of the weights .* know these genes .GENE0"
    ) as error:
        impute(adata, bulk="auto")
    assert list(adata.layers) == list(before.layers)
    assert "your own bulk samples as bulk=" in str(error.value)
    assert "scdtl.pp.impute also takes bulk=None" in str(error.value)
    impute(adata, bulk=None, **ZERO_SHOT)
    impute(adata, bulk=toy_bulk_model, **ZERO_SHOT)
    assert adata.uns["scdtl"]["weights"]["name"] == "own bulk"


def test_evaluate_takes_auto(cells):
    evaluation = evaluate(cells, bulk="auto", methods=["mean profile", "scdtl"], **ZERO_SHOT)
    assert evaluation.settings["bulk"] == "auto"
    scores = evaluation.scores["poisson_score"]
    assert scores["scdtl"] > scores["mean profile"]
    known = {
        name: evaluate(cells, bulk=name, methods=["scdtl"], **ZERO_SHOT).scores["poisson_score"]
        for name in available().query("local").index
    }
    assert scores["scdtl"] in [score["scdtl"] for score in known.values()]
