"""Tests of the package's front door."""

from __future__ import annotations

import subprocess
import sys

import pytest

import scdtl


def test_import_loads_nothing_heavy():
    code = (
        "import sys, scdtl\n"
        "dir(scdtl), scdtl.__version__, scdtl.settings.verbosity\n"
        "heavy = {'torch', 'scvi', 'scanpy', 'anndata', 'lightning', 'pandas', 'scipy'}\n"
        "loaded = heavy & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", scdtl.__all__)
def test_every_public_name_is_there(name):
    assert name in dir(scdtl)
    assert getattr(scdtl, name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        scdtl.magic  # noqa: B018
