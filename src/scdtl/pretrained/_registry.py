"""The registry: which weights are released. ``weights/register.py`` writes it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

SCHEMA = 1
PATH = Path(__file__).with_name("registry.json")
# What becomes part of a path or an address must not lead elsewhere.
_FORMS = (
    ("name", r"\w[\w-]*", "plain name"),
    ("sha256", "[0-9a-f]{64}", "sha256"),
    ("file", r"\w[\w.-]*\.safetensors", "plain file name"),
    ("version", r"\w[\w.-]*", "plain version"),
    ("base_url", r"https://\S+", "https address"),
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Released weights: location, hash, and what they were trained on."""

    name: str
    version: str
    base_url: str | None  # None as long as the files are uploaded nowhere
    file: str
    sha256: str = ""
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

    def __post_init__(self) -> None:
        for field, form, what in _FORMS:
            value = getattr(self, field)
            if field == "base_url" and value is None:
                continue
            if not (isinstance(value, str) and re.fullmatch(form, value)):
                raise ValueError(f"Weights {self.name!r} have no {what} in the registry.")
        if type(self.bytes) is not int or self.bytes < 1:
            raise ValueError(f"Weights {self.name!r} have no number of bytes in the registry.")


def read_registry() -> dict[str, Entry]:
    """Read the entries of all released weights, by name."""
    content = json.loads(PATH.read_text(encoding="utf-8"))
    try:
        if content["schema"] != SCHEMA:
            raise ValueError(f"{PATH} has schema {content['schema']}, not {SCHEMA}.")
        release = {key: content[key] for key in ("version", "base_url")}
        return {
            name: Entry(name=name, **release, **fields)
            for name, fields in content["weights"].items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{PATH} is not a registry ({error}): reinstall scdtl.") from error


def find(name: str) -> Entry:
    """Return the entry of weights; an unknown name is a ValueError that lists those there are."""
    entries = read_registry()
    if not isinstance(name, str) or name not in entries:
        raise ValueError(f"No released weights {name!r}; there are: {', '.join(entries)}.")
    return entries[name]
