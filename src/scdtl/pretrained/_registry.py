"""The registry: which weights are released. ``weights/register.py`` writes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

SCHEMA = 1  # of the file, as weights/register.py writes it
PATH = Path(__file__).with_name("registry.json")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Released weights: location, hash, and what they were trained on."""

    name: str
    version: str
    base_url: str | None  # None as long as the files are uploaded nowhere
    file: str
    sha256: str
    bytes: int
    description: str
    species: str
    studies: int
    samples: int
    genes: int
    n_hidden: int
    n_latent: int
    licence: str
    trained: str


def read_registry() -> dict[str, Entry]:
    """Read the entries of all released weights, by name."""
    content = json.loads(PATH.read_text(encoding="utf-8"))
    release = {key: content[key] for key in ("version", "base_url")}
    return {
        name: Entry(name=name, **release, **fields) for name, fields in content["weights"].items()
    }


def find(name: str) -> Entry:
    """Return the entry of weights; an unknown name is a ValueError that lists those there are."""
    entries = read_registry()
    if name not in entries:
        raise ValueError(f"No released weights {name!r}; there are: {', '.join(entries)}.")
    return entries[name]
