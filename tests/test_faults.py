"""Faults in the middle of writing, killed processes and full disks, leave no half file."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pkgutil
import signal
import subprocess
import sys

import anndata
import numpy as np
import pytest

from scdtl import SCDTL
from scdtl.cli import main
from scdtl.datasets import toy
from scdtl.pp import impute
from scdtl.pretrained import load_weights, save_weights

FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def kill(function, call):
    """Run a process, a fork of this one, that is killed once a function has written a part."""
    if sys.platform != "linux":
        pytest.skip("a fork is not safe here, or there is none")

    def run():
        owner, _, name = function.rpartition(".")
        owner = pkgutil.resolve_name(owner)
        original = getattr(owner, name)

        def killed(*args, **kwargs):
            original(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(owner, name, killed)
        call()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(120)
    if process.is_alive():
        process.kill()
        pytest.fail("the fork hangs")
    assert process.exitcode == -signal.SIGKILL


@pytest.fixture
def full_disk(tmp_path):
    """A folder on a disk of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    may_mount = sys.platform == "linux"
    if not may_mount or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@FORKS
@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
@pytest.mark.parametrize(
    ("output", "function"),
    [("out.h5ad", "anndata.AnnData.write_h5ad"), ("out.zarr", "scdtl.pp._store.Store._record")],
)
def test_the_command_killed_while_it_writes_leaves_the_earlier_output(
    tmp_path, monkeypatch, output, function
):
    monkeypatch.chdir(tmp_path)
    adata = toy()
    adata.write_h5ad("toy.h5ad")
    adata.uns["earlier"] = 1
    write = adata.write_zarr if output == "out.zarr" else adata.write_h5ad
    read = anndata.read_zarr if output == "out.zarr" else anndata.read_h5ad
    write(output)
    words = ["impute", "toy.h5ad", "-o", output, "--overwrite", "--quiet"]
    words += ["--bulk", "none", "--max-epochs", "1"]
    kill(function, lambda: main(words))
    assert "earlier" in read(output).uns
    assert main(words) == 0
    assert set(read(output).uns) == {"scdtl"}
    if output == "out.zarr":
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out.zarr", "toy.h5ad"]


@FORKS
def test_an_export_killed_while_it_writes_leaves_the_earlier_weights(toy_weights_file, tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(toy_weights_file.read_bytes())
    before = load_weights(path).sha256
    kill("pathlib.Path.write_bytes", lambda: save_weights(load_weights(path), path))
    assert load_weights(path).sha256 == before


@FORKS
def test_training_killed_before_anything_is_imputed_starts_anew(tmp_path):
    options = {"bulk": None, "max_epochs": 1, "verbose": False}
    kill("scdtl.SCDTL.train", lambda: impute(toy(), out=tmp_path / "out.zarr", **options))
    assert not (tmp_path / "out.zarr").exists()
    adata = toy()
    impute(adata, out=tmp_path / "out.zarr", **options)
    expected = impute(toy(), copy=True, **options).layers["scdtl"]
    np.testing.assert_array_equal(
        anndata.read_zarr(tmp_path / "out.zarr").layers["scdtl"], expected
    )


def test_a_full_disk_is_an_error_and_leaves_no_half_results(full_disk, tmp_path, capsys):
    adata = anndata.concat([toy()] * 20, index_unique="-")
    path = tmp_path / "in.h5ad"
    adata.write_h5ad(path)
    words = ["impute", str(path), "--bulk", "none", "--max-epochs", "0", "--quiet"]
    for name in ("out.h5ad", "out.zarr"):
        assert main([*words, "-o", str(full_disk / name)]) == 1
        message = capsys.readouterr().err
        assert message.startswith("scdtl: error: ")
        assert message.count("\n") == 1
        assert "o space left" in message
        assert not (full_disk / name).exists()
    with pytest.raises(OSError, match=r"space") as error:
        impute(adata, out=full_disk / "again.zarr", bulk=None, max_epochs=0, verbose=False)
    assert error.value.errno == errno.ENOSPC
    assert "scdtl" not in adata.layers


def test_a_model_that_does_not_fit_on_the_disk_leaves_nothing(full_disk, toy_model):
    with pytest.raises(OSError, match="space"):
        toy_model.save(full_disk / "model")
    assert not list(full_disk.rglob("*.safetensors"))
    with pytest.raises(FileNotFoundError):
        SCDTL.load(full_disk / "model", adata=False)
