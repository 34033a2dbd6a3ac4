"""Marks in the text of the pages: numbers are brought up to date, statements must hold."""

from __future__ import annotations

import inspect
import re
from itertools import groupby
from typing import TYPE_CHECKING

from _claims import CLAIMS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

PAGES = ("README.md", "docs/*.md")
MARK = re.compile(r"(?P<number>[-+−]?\d[\d.,]*)?<!-- =(?P<name>\w+) -->")
_SENTENCES = re.compile(r"(?<=[.!?]) (?=[A-Z*`\[(])")
_BLOCKS = re.compile(r"\n\s*\n|\n(?=[-:|#] )")


def write(root: Path, rows: Mapping[str, pd.DataFrame]) -> list[str]:
    """Bring the pages up to date, and the list of claims; returns what is wrong with them."""
    values = {
        name: function(*(rows[csv] for csv in inspect.signature(function).parameters))
        for name, function in CLAIMS.items()
    }
    problems, said = [], []
    for path in sorted(path for pattern in PAGES for path in root.glob(pattern)):
        text = path.read_text(encoding="utf-8")
        page = path.relative_to(root).as_posix()
        problems += [f"{page}: {what}" for what in _problems(text, values)]
        new = MARK.sub(lambda match: _current(match, values), text)
        if new != text:
            path.write_text(new, encoding="utf-8")
        said += [(page, *about) for about in _statements(new)]
    unused = CLAIMS.keys() - {name for _, _, names in said for name in names}
    problems += [f"no page says {name}" for name in sorted(unused)]
    table = _as_tables(said)
    (root / "docs" / "benchmarks" / "claims.md").write_text(table, encoding="utf-8")
    return problems


def _problems(text: str, values: Mapping[str, str | bool]) -> list[str]:
    first = re.findall(r"^<!-- =.*", text, re.MULTILINE)
    problems = [f"a mark must not begin a line: {line}" for line in first]
    for match in MARK.finditer(text):
        name, number = match["name"], match["number"]
        value = values.get(name)
        if value is None:
            problems.append(f"nothing computes {name}")
        elif isinstance(value, str) and not number:
            problems.append(f"{name} needs a number before it")
        elif not isinstance(value, str) and not value:
            problems.append(f"{name} does not hold: {CLAIMS[name].__doc__}")
    return problems


def _current(match: re.Match[str], values: Mapping[str, str | bool]) -> str:
    value = values.get(match["name"])
    number = value if isinstance(value, str) and match["number"] else match["number"] or ""
    return f"{number}<!-- ={match['name']} -->"


def _statements(text: str) -> list[tuple[str, list[str]]]:
    """Sentences with marks: their text, and the names in them."""
    found = []
    for block in _BLOCKS.split(text):
        words = " ".join(block.split())
        words = re.sub(r"([.!?])((?: ?<!-- =\w+ -->)+)", r"\2\1", words)
        for sentence in _SENTENCES.split(words):
            names = [match["name"] for match in MARK.finditer(sentence)]
            if names:
                found.append((_plain(sentence), names))
    return found


def _plain(sentence: str) -> str:
    text = re.sub(r" ?<!-- =\w+ -->", "", sentence)
    text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text)
    text = re.sub(r"\{\w+\}`~?([^`]+)`", r"`\1`", text)
    return text.lstrip("-: ").replace("|", "/")


def _as_tables(said: list[tuple[str, str, list[str]]]) -> str:
    """One table for each page."""
    parts = []
    for page, lines in groupby(said, key=lambda line: line[0]):
        rows = ["| what it says | files | how it is computed |", "| --- | --- | --- |"]
        for _, sentence, names in lines:
            known = [CLAIMS[name] for name in names if name in CLAIMS]
            csvs = dict.fromkeys(csv for f in known for csv in inspect.signature(f).parameters)
            how = "; ".join(dict.fromkeys((f.__doc__ or "").rstrip(".") for f in known))
            files = ", ".join(f"`{csv}.csv`" for csv in csvs)
            rows.append(f"| {sentence} | {files} | {how} |")
        parts += [f"**{page}**", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"
