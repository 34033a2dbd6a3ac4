"""Tests of the registry: what it says is true of the files, and a bad one is refused."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from scdtl._constants import DEFAULT_BULK
from scdtl._settings import settings
from scdtl.pretrained import available, fetch, info
from scdtl.pretrained._registry import PATH, read_registry

SCRIPT = Path(__file__).parents[2] / "weights" / "register.py"


@pytest.fixture(scope="module")
def from_files():
    """What weights/register.py would write."""
    spec = importlib.util.spec_from_file_location("register", SCRIPT)
    register = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(register)
    return register.registry()


def test_the_registry_is_that_of_the_files(from_files):
    """If this fails, run `python weights/register.py`."""
    registry = json.loads(PATH.read_text(encoding="utf-8"))
    names = from_files["weights"].keys()  # an sdist has only those that ship
    assert names <= registry["weights"].keys()
    assert registry | {"weights": {n: registry["weights"][n] for n in names}} == from_files
    assert list(registry["weights"]) == sorted(registry["weights"])


@pytest.mark.parametrize("name", [DEFAULT_BULK, "mouse"])
def test_weights_of_human_and_mouse_ship(name):
    assert info(name)["shipped"]
    assert fetch(name) == PATH.with_name(f"{name}.safetensors")


def test_no_address_is_promised(monkeypatch):
    monkeypatch.delenv("SCDTL_BASE_URL", raising=False)
    assert not [name for name in read_registry() if info(name)["url"] is not None]
    monkeypatch.setenv("SCDTL_BASE_URL", "https://example.org/")
    assert info("mouse")["url"] == "https://example.org/mouse.safetensors"


def test_a_later_registry_may_have_an_address(toy_registry):
    content = json.loads(toy_registry.read_text()) | {"base_url": "https://example.org/v1/"}
    toy_registry.write_text(json.dumps(content))
    assert info("toy")["url"] == "https://example.org/v1/toy.safetensors"


def test_available_lists_every_entry(toy_registry, toy_weights_file):
    table = available()
    assert table.index.name == "name"
    assert list(table.index) == list(read_registry())
    toy = table.loc["toy"]
    assert toy["genes"] == 40
    assert toy["size_mb"] == pytest.approx(toy_weights_file.stat().st_size / 1e6, abs=0.05)
    assert not toy["shipped"]
    assert not toy["local"]
    assert table.loc["human", "shipped"]


@pytest.mark.parametrize("size", ["half", "whole"])
def test_a_file_of_another_size_is_not_called_local(toy_registry, toy_weights_file, size):
    content = toy_weights_file.read_bytes()
    path = settings.cache_dir / info("toy")["version"] / "toy.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(content[: len(content) // (2 if size == "half" else 1)])
    assert info("toy")["local"] == (size == "whole")
    assert info("toy")["path"] == (str(path) if size == "whole" else None)


@pytest.mark.parametrize("ask", [fetch, info])
@pytest.mark.parametrize("name", ["martian", "", "../human", "/etc/passwd", "human.safetensors"])
def test_only_names_of_the_registry_are_known(toy_registry, ask, name):
    with pytest.raises(ValueError, match="No released weights .* there are: human, .*toy"):
        ask(name)


def test_every_entry_has_a_hash_and_a_plain_file_name():
    for entry in read_registry().values():
        assert re.fullmatch("[0-9a-f]{64}", entry.sha256)
        assert re.fullmatch(r"\w[\w-]*\.safetensors", entry.file)
        assert entry.base_url is None or entry.base_url.startswith("https://")
