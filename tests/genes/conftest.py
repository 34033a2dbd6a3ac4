"""Tables read anew, and tables of a test's own."""

from __future__ import annotations

import shutil

import pytest

from scdtl.genes import _names, _search, _tables

CACHED = [
    thing
    for module in (_names, _search, _tables)
    for thing in vars(module).values()
    if hasattr(thing, "cache_clear")
]


@pytest.fixture
def _unread():
    """Tables are read anew, and so are those of tests that come later."""
    for read in CACHED:
        read.cache_clear()
    yield
    for read in CACHED:
        read.cache_clear()


@pytest.fixture
def folder(monkeypatch, tmp_path, _unread):
    """A copy of the tables that the test may change, in place of the package's."""
    for path in _tables.FOLDER.iterdir():
        if path.suffix in {".toml", ".gz"}:
            shutil.copy(path, tmp_path)
    monkeypatch.setattr(_tables, "FOLDER", tmp_path)
    return tmp_path
