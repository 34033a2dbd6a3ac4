"""Safetensors with JSON in the header: the one place that reads and writes weights and models."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from scdtl._files import written_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_WRONG = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class Misfit(Exception):
    """What is wrong with a file, as the end of a sentence that begins with its path."""


@dataclass(frozen=True)
class FileKind:
    """A kind of file: its name, the key and schemas of its header, what to do if one is bad."""

    name: str
    key: str
    schemas: tuple[int, ...]
    advice: str

    def write(self, path: Path, header: Mapping[str, Any], tensors: dict[str, np.ndarray]) -> str:
        """Write a file whole or not at all, and return its sha256."""
        content = save(tensors, {self.key: json.dumps(header)})
        with written_whole(path) as file:
            file.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    @contextmanager
    def refusing(self, path: Path) -> Iterator[None]:
        """Say in one way that a file is not used, whatever the reason."""
        try:
            yield
        except (Misfit, SafetensorError, *_WRONG) as error:
            what = f"does not fit: {error!r:.200}"
            if isinstance(error, Misfit):
                what = str(error)
            elif isinstance(error, SafetensorError):
                what = f"is not a whole safetensors file: {error}".rstrip(".")
            raise ValueError(f"{path} {what}. Nothing of it is used: {self.advice}") from error

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Header and tensors of a file, in no more memory than the file has bytes."""
        with safe_open(path, framework="numpy") as file:
            try:
                header = json.loads(file.metadata()[self.key])
                schema = header["schema"]
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise Misfit(f"has no scdtl header: it is not a scdtl {self.name}") from error
            if schema not in self.schemas:
                raise Misfit(
                    f"has schema {str(schema)[:20]}, this version of scdtl reads schema "
                    f"{' and '.join(map(str, self.schemas))}: update scdtl if the file is newer"
                )
            return header, {name: file.get_tensor(name) for name in file.keys()}


def sha256_of(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    """Hash of header and tensors, whichever way they are laid out."""
    digest = hashlib.sha256(json.dumps(header, allow_nan=False).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\n{name} {value.dtype.name} {value.shape}\n".encode())
        digest.update(value.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
