"""What impute tells at its end, and the progress bars."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest

from scdtl.pp import impute

LINE = re.compile(
    r"Imputed 700 cells × 765 genes as UMIs \((?P<why>[^)]*)\) (?P<origin>.*)\. "
    r"(?P<training>[^.]*)\. Imputation explains (?P<explained>-?[\d.]+) % of the deviance of "
    r"held-out molecules beyond the mean profile\. Genes: "
    r"(?P<trusted>\d+) trusted, (?P<no_better>\d+) not clearly predicted better than by their "
    r"mean, (?P<untold>\d+) with too little data to tell\."
)


@pytest.fixture
def told(caplog):
    """Function that imputes and returns the parts of the one line about it."""

    def run(adata, **kwargs):
        with caplog.at_level(logging.INFO, logger="scdtl"):
            impute(adata, **kwargs)
        lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("Imputed")]
        assert len(lines) == 1
        return LINE.fullmatch(lines[0]).groupdict()

    return run


def test_the_end_is_told_once_with_the_numbers_that_are_written(told, pbmc_counts):
    adata = pbmc_counts.copy()
    told = told(adata, max_epochs=200)
    entry, trust = adata.uns["scdtl"], adata.var["scdtl_trust"]
    assert told["why"] == entry["noise"]["why"]
    untold = int(trust.isna().sum())
    trusted = int(adata.var["scdtl_trusted"].sum())
    assert (int(told["trusted"]), int(told["untold"])) == (trusted, untold)
    assert int(told["no_better"]) == adata.n_vars - trusted - untold
    n_known = int(adata.var["scdtl_in_bulk"].sum())
    assert told["origin"].startswith(
        f"from bulk weights 'human', which include {n_known} of the genes"
    )
    n_epochs = int(np.isfinite(entry["history"]["train_loss"]).sum())
    of = entry["training"]["max_epochs"]
    assert told["training"] == f"Training stopped early, after epoch {n_epochs} of {of}"
    assert float(told["explained"]) == pytest.approx(
        100 * entry["held_out_deviance_explained"], abs=0.051
    )


def test_a_cap_and_no_training_are_told_as_such(told, pbmc_counts, caplog):
    assert told(pbmc_counts.copy(), bulk=None, max_epochs=1)["training"] == (
        "Training ended as planned, after epoch 1"
    )
    caplog.clear()
    zero_shot = told(pbmc_counts.copy(), max_epochs=0)
    assert zero_shot["training"] == "Nothing was trained"


def test_the_bar_of_a_training_that_ends_early_ends_too(adata, capsys):
    impute(adata, bulk=None, verbose=True)
    out, err = capsys.readouterr()
    assert not out
    last = re.findall(r"Training ended early: 100%\|[^\r\n]*?(\d+)/(\d+)", err)[-1]
    assert last[0] == last[1]
    assert "Imputing: 100%" in err


def test_nothing_is_told_where_it_is_not_wanted(adata, capsys, caplog):
    with caplog.at_level(logging.INFO, logger="scdtl"):
        impute(adata, bulk=None, max_epochs=1, verbose=False)
    assert capsys.readouterr() == ("", "")
    assert "Imputed" not in caplog.text
