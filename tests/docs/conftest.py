"""The site, built once as Read the Docs builds it, and the names that it has to document."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

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
def members_of_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exception | None]:
    """Every public member of the models, and the error that it raises when it is used."""
    import rich.pretty  # noqa: F401 - scvi-tools uses it without importing it

    import scdtl

    cells, bulk = scdtl.datasets.toy(), scdtl.datasets.toy_bulk()
    members: dict[str, Exception | None] = {}
    for model_class, adata in ((scdtl.BulkDAE, bulk), (scdtl.SCDTL, cells)):
        folder = tmp_path_factory.mktemp(model_class.__name__)
        model_class.setup_anndata(adata)
        model = model_class(adata)
        model.train(max_epochs=1, enable_progress_bar=False)
        model.save(folder / "model")
        if model_class is scdtl.BulkDAE:
            weights = model.to_weights()
        arguments = {
            "adata": adata,
            "adata_manager": model.adata_manager,
            "bulk": weights,
            "device": "cpu",
            "dir_path": folder / "model",
            "path": folder / "weights.safetensors",
            "registry_key": "X",
            "setup_arg": "layer",
            "setup_method_args": {},
        }
        for name in dir(model_class):
            if not name.startswith("_"):
                members[f"scdtl.{model_class.__name__}.{name}"] = _error_of(model, name, arguments)
    return members


def _error_of(model: object, name: str, arguments: dict[str, Any]) -> Exception | None:
    """What using a member raises, given the arguments that it can't do without."""
    beside = {
        "load": {"adata": arguments["adata"]},
        "save": {"dir_path": arguments["dir_path"].with_name("saved")},
    }
    try:
        member = getattr(model, name)
        if callable(member):
            needed = {
                p.name: arguments[p.name]
                for p in inspect.signature(member).parameters.values()
                if p.default is p.empty and "VAR" not in p.kind.name
            }
            member(**needed | beside.get(name, {}))
    except Exception as error:  # noqa: BLE001 - whatever a user would meet
        return error
    return None


@pytest.fixture(scope="session")
def public_names(members_of_models: dict[str, Exception | None]) -> list[str]:
    """Every public function and class, and what our classes add, but members that only raise."""
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
    return [name for name in names if members_of_models.get(name) is None]


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
