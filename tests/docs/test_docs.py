"""The site is whole: no warnings, no dead ends, a page for every public name."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Page

pytestmark = pytest.mark.slow


def _inside(page: str, target: str) -> tuple[str, str] | None:
    """Path below the site and anchor of a link, or nothing if it leaves the site."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return None
    path = unquote(urlsplit(urljoin(f"/{page}", parts.path or f"/{page}")).path).lstrip("/")
    return path, unquote(parts.fragment)


def test_site_builds_without_warnings(site: Path) -> None:
    assert (site / "index.html").is_file()


def test_no_link_inside_the_site_is_broken(site: Path, pages: dict[str, Page]) -> None:
    broken, n_links = [], 0
    for page, content in pages.items():
        for target in content.links:
            link = _inside(page, target)
            if link is None or target == "#":
                continue
            n_links += 1
            path, anchor = link
            if not (site / path).exists():
                broken.append(f"{page}: {target}")
            elif anchor and path in pages and anchor not in pages[path].anchors:
                broken.append(f"{page}: {target} (no such anchor)")
    print(f"{len(pages)} pages, {n_links} links inside the site")
    assert n_links > 500
    assert not broken, "\n".join(broken)


def test_no_image_is_missing(site: Path, pages: dict[str, Page]) -> None:
    links = {
        (page, target): _inside(page, target)
        for page, content in pages.items()
        for target in content.images
    }
    missing = [f"{page}: {target}" for (page, target), link in links.items()
               if link is not None and not (site / link[0]).is_file()]  # fmt: skip
    assert any(link for link in links.values())
    assert not missing, "\n".join(missing)


def test_figures_of_the_pages_are_described(site: Path) -> None:
    bare = [
        f"{path.relative_to(site)}: {tag}"
        for path in site.glob("*.html")
        for tag in re.findall(r"<img [^>]*>", path.read_text(encoding="utf-8"))
        if not re.search(r'alt="[^"]', tag)
    ]
    assert not bare, "\n".join(bare)


def test_every_public_name_has_an_entry(pages: dict[str, Page], public_names: list[str]) -> None:
    documented = set().union(
        *(page.anchors for path, page in pages.items() if path.startswith("generated/api/"))
    )
    assert set(public_names) <= documented


def test_no_entry_is_of_a_name_that_is_not_public(
    pages: dict[str, Page], public_names: list[str]
) -> None:
    stems = {
        path.split("/")[-1].removesuffix(".html") for path in pages if "generated/api" in path
    }
    assert stems <= set(public_names)


def test_models_show_all_that_works_and_nothing_that_only_raises(
    pages: dict[str, Page], members_of_models: dict[str, Exception | None]
) -> None:
    shown = set().union(
        *(pages[f"generated/api/scdtl.{name}.html"].anchors for name in ("SCDTL", "BulkDAE"))
    )
    raising = {name: error for name, error in members_of_models.items() if error is not None}
    print("\n".join(f"{name}: {error!r}" for name, error in raising.items()))
    assert shown & members_of_models.keys() == members_of_models.keys() - raising.keys()


def test_every_page_is_reached_from_the_start_page(pages: dict[str, Page]) -> None:
    reached, new = set(), {"index.html"}
    while new:
        reached |= new
        links = (_inside(page, link) for page in new for link in pages[page].links)
        new = {link[0] for link in links if link and link[0] in pages} - reached
    assert pages.keys() - reached <= {"genindex.html", "py-modindex.html", "search.html"}


def test_troubleshooting_quotes_messages_that_exist(root: Path) -> None:
    text = (root / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    terms = re.findall(r"^(.+)\n: ", text, flags=re.MULTILINE)
    quoted = [part for term in terms for part in re.findall(r"`([^`]+)`", term)]
    assert len(quoted) > 30
    messages = "\n".join(
        _text(path.read_text(encoding="utf-8")) for path in (root / "src").rglob("*.py")
    )
    pieces = {piece.strip(" '") for part in quoted for piece in re.split("…|'…'", part)}
    # The names that a message fills in are examples here.
    pieces = {re.sub(r"^adata\.(X|layers\['scdtl'\]) ", "", piece) for piece in pieces}
    unknown = {piece for piece in pieces if len(piece) > 3 and piece not in messages}
    assert not unknown


def _text(code: str) -> str:
    """All strings of the code, what is filled in left out."""
    texts = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value for part in node.values if isinstance(part, ast.Constant))
            texts.append(" ".join(" ".join(str(part).split()) for part in parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(re.sub(r"%[.\d]*[dsrf]", " ", node.value))
    return "\n".join(texts)


def test_functions_that_draw_show_a_figure(site: Path, pages: dict[str, Page]) -> None:
    import scdtl

    bare = [
        name
        for name in scdtl.pl.__all__
        if not any(name in image for image in pages[f"generated/api/scdtl.pl.{name}.html"].images)
    ]
    assert not bare, "add them to docs/figures/api.py"


def test_links_to_the_source_lead_to_the_definition(root: Path, pages: dict[str, Page]) -> None:
    found = {
        (page, *link)
        for page, content in pages.items()
        if page.startswith("generated/api/")
        for target in content.links
        for link in re.findall(r"/blob/main/(src/\S+)#L(\d+)-L\d+$", target)
    }
    for page, path, line in found:
        name = page.removesuffix(".html").rsplit(".", 1)[1]
        definition = (root / path).read_text(encoding="utf-8").splitlines()[int(line) - 1]
        assert re.match(r"\s*(@|def |class )", definition), (page, path, line, definition)
        if "scdtl.pl." in page:
            assert f"def {name}(" in definition
    assert len(found) > 50


def test_tutorials_have_a_card_each(site: Path, root: Path) -> None:
    page = (site / "tutorials.html").read_text(encoding="utf-8")
    for path in (root / "tutorials").glob("*.ipynb"):
        assert f'href="generated/tutorials/{path.stem}.html"' in page
    assert page.count("Open in Colab") == 0
