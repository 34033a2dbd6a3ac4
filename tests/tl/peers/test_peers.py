"""Tests of the list of peers, and of what each of them keeps to."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
from scipy import sparse

from scdtl.tl import evaluate, peers
from scdtl.tl.peers import NAMES, load
from scdtl.tl.peers._chosen import chosen
from scdtl.tl.peers._peer import Options

OPTIONS = Options(seed=0, impute_kwargs={"max_epochs": 1, "verbose": False})


def test_reading_the_names_loads_nothing_heavy():
    code = (
        "import sys, scdtl.tl.peers\n"
        "assert 'magic' in scdtl.tl.peers.NAMES\n"
        "heavy = {'numpy', 'scipy', 'pandas', 'anndata', 'scanpy', 'torch', 'scvi', 'magic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_file_with_an_entry_has_a_name():
    files = [module.name for module in pkgutil.iter_modules(peers.__path__)]
    with_entry = {
        file for file in files if hasattr(import_module(f"{peers.__name__}.{file}"), "PEER")
    }
    assert with_entry == {f"_{name.replace(' ', '_')}" for name in NAMES}


def test_every_name_is_documented():
    assert [name for name in NAMES if f'"{name}"' not in evaluate.__doc__] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_peer_keeps_to_what_its_entry_says(name, planted):
    peer = load(name)
    if not peer.is_installed:
        pytest.skip(f"{peer.package} is not installed")
    parameters = {"max_epochs": 1} if name == "scvi" else {}
    cells = planted[0].copy()
    rates = peer.run(cells, OPTIONS, **parameters)
    rates = rates.toarray() if sparse.issparse(rates) else np.asarray(rates)
    assert rates.shape == cells.shape
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()
    assert (cells.X != planted[0].X).nnz == 0
    if peer.library_size is not None:
        assert 0.5 < np.median(rates.sum(axis=1)) / peer.library_size < 2
    if peer.latent is not None:
        assert len(cells.obsm[peer.latent]) == cells.n_obs
    again = peer.run(planted[0].copy(), OPTIONS, **parameters)
    assert np.array_equal(rates, again.toarray() if sparse.issparse(again) else again)


def test_defaults_are_the_installed_peers_that_are_not_slow(monkeypatch):
    monkeypatch.setattr("scdtl.tl.peers._peer.distribution", lambda name: name)
    not_by_default = {"scvi": "slow", "magic on logs": "for reads"}
    assert list(chosen(None)) == [name for name in NAMES if name not in not_by_default]

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("scdtl.tl.peers._peer.distribution", missing)
    assert list(chosen(None)) == [name for name in NAMES if load(name).package is None]
    for name, package in (("magic", "magic-impute"), ("cellmapper", "cellmapper")):
        with pytest.raises(ImportError, match=f"'{name}' needs .*: pip install {package}"):
            chosen(["observed", name])
