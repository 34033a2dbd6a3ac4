"""Parts of the pages that are made when the site is built: conf.py calls them."""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
from typing import TYPE_CHECKING, Any

from scdtl.cli import _parser
from scdtl.pretrained import available

if TYPE_CHECKING:
    from pathlib import Path

FIRST = (
    "quickstart",
    "mouse_spleen",
    "trust",
    "downstream",
    "reads",
    "unmeasured",
    "few_cells",
    "own_bulk",
    "large_data",
    "in_scvi_tools",
)
THUMBNAIL = "thumbnail"  # tag of the cell whose figure a card shows; without one, the last figure
SIZE = (480, 300)


def tutorials(source: Path, folder: Path) -> None:
    """Copy the notebooks below docs/, where Sphinx reads them, and make their gallery."""
    (folder / "tutorials").mkdir()
    found = {path.stem: path for path in sorted(source.glob("*.ipynb"))}
    names = [name for name in FIRST if name in found]
    names += [name for name in found if name not in FIRST]
    cards = []
    for name in names:
        text = found[name].read_text(encoding="utf-8")
        for_site = text.replace("](../docs/", "](../../")
        for_site = re.sub(r"!\[(Open in Colab)]\([^)]*\)", r"\1", for_site)  # no image from afar
        (folder / "tutorials" / f"{name}.ipynb").write_text(for_site, encoding="utf-8")
        cards.append(_card(name, json.loads(text)["cells"], folder))
    toctree = "".join(f"generated/tutorials/{name}\n" for name in names)
    (folder / "tutorials.md").write_text(
        "```{toctree}\n:hidden:\n:caption: Tutorials\n:maxdepth: 1\n\ntutorials\n"
        f"{toctree}```\n",
        encoding="utf-8",
    )
    (folder / "gallery.md").write_text(
        "::::{grid} 1 2 2 3\n:gutter: 3\n\n" + "".join(cards) + "::::\n", encoding="utf-8"
    )


def _card(name: str, cells: list[dict[str, Any]], folder: Path) -> str:
    title, about = _title_and_summary(next(c for c in cells if c["cell_type"] == "markdown"))
    lines = [f":::{{grid-item-card}} {title}", f":link: generated/tutorials/{name}"]
    lines.append(":link-type: doc")
    figure = _figure_of(cells)
    if figure:
        _write_thumbnail(figure, folder / f"{name}.png")
        lines += [f":img-top: generated/{name}.png", f":img-alt: A figure of the tutorial {title}"]
    return "\n".join([*lines, "", about, ":::", "", ""])


def _title_and_summary(cell: dict[str, Any]) -> tuple[str, str]:
    """Heading of the first cell, and the first sentence or two of the text, without links."""
    blocks = [" ".join(block.split()) for block in "".join(cell["source"]).split("\n\n")]
    text = next(block for block in blocks if not block.startswith(("#", "[![")))
    text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text)
    first, *others = re.split(r"(?<=[.!?]) ", text)
    about = " ".join([first, *others[:1]]) if len(first) < 50 else first
    return blocks[0].lstrip("# "), about


def _figure_of(cells: list[dict[str, Any]]) -> bytes | None:
    figures = [
        (THUMBNAIL in cell["metadata"].get("tags", []), output["data"]["image/png"])
        for cell in cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    chosen = next((png for tagged, png in figures if tagged), figures[-1][1] if figures else None)
    return base64.b64decode("".join(chosen)) if chosen else None


def _write_thumbnail(png: bytes, path: Path) -> None:
    """Fit the figure into a frame, so that all cards look alike."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as figure:
        small = figure.convert("RGB")
    small.thumbnail((SIZE[0] - 20, SIZE[1] - 20), Image.Resampling.LANCZOS)
    frame = Image.new("RGB", SIZE, "white")
    frame.paste(small, ((SIZE[0] - small.width) // 2, (SIZE[1] - small.height) // 2))
    frame.save(path, optimize=True)


def weights_table(folder: Path) -> None:
    """Write the table of released weights, from the registry."""
    columns = ["species", "studies", "samples", "genes", "size_mb", "licence", "description"]
    weights = available()[columns].reset_index()
    lines = [weights.columns, ["---"] * len(weights.columns), *weights.itertuples(index=False)]
    table = "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)
    (folder / "weights_table.md").write_text(table, encoding="utf-8")


def commands(folder: Path) -> None:
    """Write what the commands say about themselves."""
    os.environ["COLUMNS"] = "88"
    (folder / "commands.md").write_text(_help_of(_parser()), encoding="utf-8")


def _help_of(parser: argparse.ArgumentParser, level: int = 2) -> str:
    text = f"{'#' * level} `{parser.prog}`\n\n```text\n{parser.format_help()}```\n\n"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            text += "".join(_help_of(command, level + 1) for command in action.choices.values())
    return text
