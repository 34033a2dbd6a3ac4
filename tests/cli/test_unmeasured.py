"""Tests of `scdtl unmeasured`, and of --bulk auto."""

from __future__ import annotations

import subprocess
import sys

import anndata
import numpy as np
import pytest

from scdtl.cli import main
from scdtl.datasets import pbmc68k_counts, toy
from scdtl.pp import impute_unmeasured


@pytest.fixture
def panel_file(tmp_path, monkeypatch):
    """A toy panel with coordinates, in the working directory."""
    panel = toy()[:, :30].copy()
    panel.obsm["spatial"] = np.arange(120.0).reshape(60, 2)
    panel.write_h5ad(tmp_path / "panel.h5ad")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "panel.h5ad"


def test_the_file_is_what_the_function_returns(panel_file, toy_weights_file, capsys):
    options = ["--max-epochs", "1", "--random-state", "3", "--scale", "normalized", "--quiet"]
    bulk = ["--bulk", str(toy_weights_file)]
    assert main(["unmeasured", "panel.h5ad", "-o", "out.h5ad", *bulk, *options]) == 0
    written = anndata.read_h5ad("out.h5ad")
    expected = impute_unmeasured(
        anndata.read_h5ad(panel_file),
        bulk=str(toy_weights_file),
        max_epochs=1,
        random_state=3,
        scale="normalized",
        verbose=False,
    )
    assert list(written.var_names) == list(expected.var_names)
    assert np.array_equal(written.X, expected.X)
    assert np.array_equal(written.var["expected_r"], expected.var["expected_r"])
    assert np.array_equal(written.obsm["spatial"], expected.obsm["spatial"])
    assert list(written.obs["cell_type"]) == list(expected.obs["cell_type"])
    assert capsys.readouterr().out == ""


def test_genes_come_from_a_file(panel_file, toy_weights_file):
    (panel_file.parent / "genes.txt").write_text("GENE35\nGENE31\n")
    words = ["unmeasured", "panel.h5ad", "-o", "out.h5ad", "--genes", "genes.txt", "--quiet"]
    assert main([*words, "--bulk", str(toy_weights_file), "--max-epochs", "0"]) == 0
    assert list(anndata.read_h5ad("out.h5ad").var_names) == ["GENE35", "GENE31"]


def test_a_real_panel_takes_the_best_weights_by_default(tmp_path):
    panel = pbmc68k_counts()[::4, ::2].copy()
    panel.write_h5ad(tmp_path / "panel.h5ad")
    output = tmp_path / "out.h5ad"
    done = subprocess.run(
        [sys.executable, "-m", "scdtl", "unmeasured", tmp_path / "panel.h5ad", "-o", output]
        + ["--max-epochs", "0"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "bulk='auto': 'human" in done.stderr
    assert f"wrote {output}" in done.stderr
    written = anndata.read_h5ad(output)
    assert written.uns["scdtl"]["params"]["bulk"] == "auto"
    assert written.n_obs == panel.n_obs
    assert written.n_vars > 15_000
    assert not set(written.var_names) & set(panel.var_names)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.h5ad", "-o", "out.h5ad"], "none.h5ad does not exist"),
        (["panel.h5ad", "-o", "out.zarr"], "the name must end in .h5ad"),
        (["panel.h5ad", "-o", "panel.h5ad", "--overwrite"], "is also the input"),
        (["panel.h5ad", "-o", "there.h5ad"], "exists: choose another one, or add --overwrite"),
        (["panel.h5ad", "-o", "out.h5ad", "--bulk", "none"], "name weights, or leave it out"),
        (
            ["panel.h5ad", "-o", "out.h5ad", "--scale", "x"],
            "scale must be 'log1p' or 'normalized'",
        ),
        (["panel.h5ad", "-o", "out.h5ad"], "none of the weights on this machine know these genes"),
    ],
    ids=["input", "suffix", "itself", "exists", "no bulk", "scale", "genes"],
)
def test_what_is_wrong_is_said_in_one_line(words, message, panel_file, capsys):
    (panel_file.parent / "there.h5ad").write_text("")
    assert main(["unmeasured", *words]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (panel_file.parent / "out.h5ad").exists()


@pytest.mark.parametrize("command", ["impute", "evaluate"])
def test_bulk_auto_is_taken_by_the_other_commands(command, tmp_path, capsys):
    pbmc68k_counts()[::7].copy().write_h5ad(tmp_path / "real.h5ad")
    words = [command, str(tmp_path / "real.h5ad"), "--bulk", "auto", "--max-epochs", "0"]
    if command == "impute":
        output = tmp_path / "out.h5ad"
        assert main([*words, "-o", str(output)]) == 0
        entry = anndata.read_h5ad(output).uns["scdtl"]
        assert entry["params"]["bulk"] == "auto"
        assert entry["weights"]["name"] in capsys.readouterr().err
    else:
        assert main([*words, "--methods", "mean profile,scdtl"]) == 0
        assert "scdtl" in capsys.readouterr().out
