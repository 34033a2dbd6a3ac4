"""The registry: which weights and data sets are released. ``weights/register.py`` writes those."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

SCHEMA = 1  # of the file, as weights/register.py writes it
PATH = Path(__file__).with_name("registry.json")


# The files that tutorials/make_data.py makes; others of the same name need another version.
DATA_VERSION = "data-v1"
DATA = {
    "brain_reads": "840812bc531061867e7b98cda5f65298e76c57f32d82030bb5602f67a090484a",
    "mouse_spleen": "bc635ceaf566baaa7328d6cda08c08def1eec7abfc3ba8ac1edc4923b49ee669",
}


@dataclass(frozen=True, kw_only=True)
class File:
    """A released file: location and hash."""

    name: str
    version: str
    base_url: str | None  # None as long as the files are uploaded nowhere
    file: str
    sha256: str

    missing: ClassVar[str]
    origin: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class DataSet(File):
    """Released cells."""

    missing = "Cannot get the data set"
    origin = "which tutorials/make_data.py of the repository makes from the authors' tables"


@dataclass(frozen=True, kw_only=True)
class Entry(File):
    """Released weights, and what they were trained on."""

    missing = "Cannot get the weights"
    origin = "as weights/ of the repository does, or pass the path of the file instead of the name"

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


def data_sets() -> dict[str, DataSet]:
    """Return the entries of all data sets, by name; their files lie where those of weights do."""
    base_url = json.loads(PATH.read_text(encoding="utf-8"))["base_url"]
    release = {"version": DATA_VERSION, "base_url": base_url}
    return {
        name: DataSet(name=name, file=f"{name}.h5ad", sha256=sha256, **release)
        for name, sha256 in DATA.items()
    }
