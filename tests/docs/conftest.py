"""The site, built once as Read the Docs builds it, and the names that it has to document."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


class Page(NamedTuple):
    """What other pages may point to, and what a page points to."""

    anchors: set[str]
    links: list[str]
    images: list[str]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page(set(), [], [])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = {key: value for key, value in attrs if value}
        self.page.anchors.update(of[key] for key in ("id", "name") if key in of)
        if "href" in of:
            self.page.links.append(of["href"])
        if "src" in of:
            (self.page.images if tag == "img" else self.page.links).append(of["src"])


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the built pages."""
    pytest.importorskip("sphinx_book_theme")
    yaml = pytest.importorskip("yaml")
    build = yaml.safe_load((ROOT / ".readthedocs.yaml").read_text())["build"]["jobs"]["build"]
    output = tmp_path_factory.mktemp("site")
    environment = {"SCDTL_DOCS_OFFLINE": "1", **os.environ, "READTHEDOCS_OUTPUT": str(output)}
    for line in build["html"]:
        words = [os.path.expandvars(word.replace("$READTHEDOCS_OUTPUT", str(output)))
                 for word in line.split()]  # fmt: skip
        assert words[0] == "python"
        run = subprocess.run(
            [sys.executable, *words[1:]], cwd=ROOT, env=environment, text=True, capture_output=True
        )
        if run.returncode:
            pytest.fail(f"{line}\n{run.stderr[-5000:]}", pytrace=False)
    return output / "html"


@pytest.fixture(scope="session")
def pages(site: Path) -> dict[str, Page]:
    """The pages, by their path below the site."""
    found = {}
    for path in sorted(site.rglob("*.html")):
        if path.is_relative_to(site / "_static"):
            continue
        reader = _Reader()
        reader.feed(path.read_text(encoding="utf-8"))
        found[path.relative_to(site).as_posix()] = reader.page
    return found


@pytest.fixture(scope="session")
def public_names() -> list[str]:
    """Every public function and class, and every public member that our classes add."""
    import scdtl

    names = []
    for name in scdtl.__all__:
        thing = getattr(scdtl, name)
        if inspect.ismodule(thing):
            module = importlib.import_module(f"scdtl.{name}")
            for own in _names_of(module):
                names += _with_members(f"scdtl.{name}.{own}", getattr(module, own))
        else:
            names += _with_members(f"scdtl.{name}", thing)
    return names


def _names_of(module) -> list[str]:
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and inspect.isfunction(thing)
        if thing.__module__ == module.__name__
    ]


def _with_members(name: str, thing: object) -> list[str]:
    if not inspect.isclass(thing):
        return [name]
    members = []
    for member in dir(thing):
        found = inspect.getattr_static(thing, member)
        function = found.fget if isinstance(found, property) else found
        function = getattr(function, "__func__", function)
        is_ours = (getattr(function, "__module__", None) or "").startswith("scdtl")
        if is_ours and not member.startswith("_") and callable(function):
            members.append(f"{name}.{member}")
    return [name, *members]
