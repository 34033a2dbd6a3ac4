"""What is stated in several places agrees: versions, dependencies, the drafts for registries."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

# As scverse/ecosystem-packages requires them.
ECOSYSTEM_FIELDS = {
    "name", "description", "project_home", "documentation_home", "install", "license", "tags",
    "version", "contact",
}  # fmt: skip

# PyPI's name: conda-forge's
CONDA_NAMES = {"matplotlib": "matplotlib-base", "torch": "pytorch", "scanpy": "scanpy"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _yaml(path: str) -> Any:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_citation_has_the_version_of_the_package(project: dict[str, Any]) -> None:
    assert str(_yaml("CITATION.cff")["version"]) == project["version"]


def test_ecosystem_entry_is_whole(project: dict[str, Any]) -> None:
    entry = _yaml("docs/ecosystem/meta.yaml")
    assert entry.keys() >= ECOSYSTEM_FIELDS
    assert entry["version"].removeprefix("v") == project["version"]
    assert entry["license"] == project["license"]
    assert len(entry["description"].split(". ")) <= 2


def test_ecosystem_entry_runs_the_tests_as_the_readme_does() -> None:
    command = _yaml("docs/ecosystem/meta.yaml")["test_command"]
    assert command in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


def test_conda_recipe_has_the_dependencies_of_the_package(project: dict[str, Any]) -> None:
    recipe = _yaml("conda/recipe.yaml")
    assert recipe["context"]["version"] == project["version"]
    needed = {}
    for dependency in project["dependencies"]:
        match = re.fullmatch(r"([\w-]+)(\[\w+\])?(.*)", dependency)
        assert match
        name, extra, bounds = match.groups()
        needed[CONDA_NAMES.get(name, name)] = bounds
        if extra == "[leiden]":
            needed |= {"python-igraph": "", "leidenalg": ""}
    stated = {}
    for dependency in recipe["requirements"]["run"]:
        name, _, bounds = dependency.partition(" ")
        stated[name] = bounds
    assert stated.pop("python") == ">=${{ python_min }}"
    assert stated.keys() == needed.keys()
    assert {name: bounds for name, bounds in needed.items() if bounds} == {
        name: bounds for name, bounds in stated.items() if needed[name]
    }


def test_both_commands_of_the_readme_make_their_environment() -> None:
    """Debian and Ubuntu refuse pip without one (PEP 668)."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if " pip install -c " in line]
    assert len(commands) == 2
    for command in commands:
        assert command.startswith("python3 -m venv .venv && . .venv/bin/activate && pip install")


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("name", ["before_after.png", "architecture.svg"])
def test_figures_are_light(name: str) -> None:
    assert (ROOT / "docs" / "_static" / name).stat().st_size < 150_000


def test_actions_are_pinned_by_hash() -> None:
    lines = [
        line.strip()
        for path in (ROOT / ".github" / "workflows").iterdir()
        for line in path.read_text(encoding="utf-8").splitlines()
        if "uses:" in line
    ]
    loose = [line for line in lines if not re.search(r"@[0-9a-f]{40} # v[\d.]+$", line)]
    assert lines
    assert not loose


def test_workflows_may_only_read_unless_they_say_so() -> None:
    for path in (ROOT / ".github" / "workflows").iterdir():
        assert "permissions:\n  contents: read" in path.read_text(encoding="utf-8"), path.name


def test_readme_points_to_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", text)
    assert targets
    assert not [target for target in targets if not (ROOT / target).exists()]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tutorials").glob("*.ipynb")), ids=lambda p: p.stem
)
def test_tutorials_open_in_colab(path: Path, project: dict[str, Any]) -> None:
    """With the button of that notebook, and a cell that installs what the button's address has."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    source = project["urls"]["Source"]
    place = source.removeprefix("https://github.com/")
    link = f"colab.research.google.com/github/{place}/blob/main/tutorials/{path.name}"
    assert link in "".join(cells[0]["source"]), "run python tutorials/colab.py"
    assert f"git+{source}" in "".join(cells[1]["source"])


def test_placeholders_are_listed_for_whoever_publishes(project: dict[str, Any]) -> None:
    """In docs/contributing.md, with each file that has to be changed."""
    text = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    listed = text[text.index("### Before the first release") :]
    held = [project["urls"]["Source"], project["urls"]["Documentation"], *_people(project)]
    patterns = ("*.md", "*.cff", "*.toml", "LICENSE", "conda/*", "docs/*.md", "docs/*.py",
                "docs/ecosystem/*", "weights/*.md", "benchmarks/*", "src/**/*.py")  # fmt: skip
    for path in (path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()):
        name = path.relative_to(ROOT).as_posix()
        if any(word in path.read_text(encoding="utf-8") for word in held):
            assert f"`{name}`" in listed or name == "docs/contributing.md", name


def _people(project: dict[str, Any]) -> list[str]:
    return [person["name"] for person in project["authors"]]


def test_addresses_are_those_of_the_project(project: dict[str, Any]) -> None:
    """They are placeholders until the first release; docs/contributing.md says what to change."""
    urls = project["urls"]
    for name in ("CITATION.cff", "conda/recipe.yaml", "docs/ecosystem/meta.yaml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert urls["Source"] in text
        assert urls["Documentation"] in text
    patterns = ("*.md", "*.cff", "conda/*", "docs/*.md", "docs/ecosystem/*", "tutorials/*.ipynb")
    for path in (path for pattern in patterns for path in ROOT.glob(pattern)):
        text = path.read_text(encoding="utf-8")
        for address in re.findall(r"https://github\.com/[\w-]+/scdtl\b", text):
            assert address == urls["Source"], path
