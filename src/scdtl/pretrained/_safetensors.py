"""Safetensors with JSON in the header: the one place that reads and writes weights and models."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_origin

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from scdtl._files import written_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Spec = tuple[tuple[int | None, ...], str]
"""Shape of a tensor, None for any number, and NumPy's letter for its kind of numbers."""


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
        """Say in one way that a file is not used."""
        try:
            yield
        except (Misfit, SafetensorError) as error:
            damage = "" if isinstance(error, Misfit) else "is not a whole safetensors file: "
            what = f"{damage}{error}".rstrip(".")
            raise ValueError(f"{path} {what}. Nothing of it is used: {self.advice}") from error

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Header and tensors of a file, in no more memory than the file has bytes."""
        with safe_open(path, framework="numpy") as file:
            try:
                header = json.loads(file.metadata()[self.key])
                schema = header["schema"]
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise Misfit(f"has no scdtl header: it is not a scdtl {self.name}") from error
            if type(schema) is not int or schema not in self.schemas:
                raise Misfit(
                    f"has schema {str(schema)[:20]}, this version of scdtl reads schema "
                    f"{' and '.join(map(str, self.schemas))}: update scdtl if the file is newer"
                )
            try:
                return header, {name: file.get_tensor(name) for name in file.keys()}
            except (AttributeError, TypeError) as error:
                raise Misfit(f"has tensors of a type that NumPy lacks: {error}") from error


def sha256_of(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    """Hash of header and tensors, whichever way they are laid out."""
    digest = hashlib.sha256(json.dumps(header, allow_nan=False).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\n{name} {value.dtype.name} {value.shape}\n".encode())
        digest.update(value.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def fits(value: Any, kind: Any) -> bool:
    """Whether JSON is of a type: a plain one, or a list, dict or union of such."""
    inner = get_args(kind)
    if get_origin(kind) is list:
        return type(value) is list and all(fits(item, inner[0]) for item in value)
    if get_origin(kind) is dict:
        return type(value) is dict and all(fits(item, inner[1]) for item in value.values())
    if inner:
        return any(fits(value, one) for one in inner)
    return kind is Any or type(value) is kind


def check_header(header: dict[str, Any], types: Mapping[str, Any]) -> None:
    """Refuse a header of other keys or types."""
    for name in sorted(header.keys() | types.keys()):
        if name not in types or not fits(header.get(name), types[name]):
            raise Misfit(
                f"does not fit: {_shortened(name)} in its header is missing, unknown or of "
                "another type than it should be"
            )


def check_tensors(
    tensors: dict[str, np.ndarray], expected: Mapping[str, Spec], finite: str = ""
) -> None:
    """Refuse other tensors, and values that are not finite where names begin with `finite`."""
    if odd := ", ".join(sorted(tensors.keys() ^ expected.keys())):
        raise Misfit(f"has missing or unexpected tensors: {_shortened(odd)}")
    for name, value in tensors.items():
        shape, kind = expected[name]
        if len(shape) != value.ndim or any(
            wanted not in (None, n) for wanted, n in zip(shape, value.shape, strict=True)
        ):
            problem = f"has shape {list(value.shape)}, its header says {list(shape)}"
        elif value.dtype.kind != kind:
            problem = f"is of type {value.dtype}"
        elif kind == "f" and name.startswith(finite) and not np.isfinite(value).all():
            problem = "has values that are not finite"
        elif name.endswith("gene_order") and set(value.tolist()) != set(range(len(value))):
            problem = "is not a permutation"
        else:
            continue
        raise Misfit(f"does not fit: tensor {name} {problem}")


def _shortened(text: str) -> str:
    """The text on one line of bearable length."""
    return repr(text)[1:-1][:200]
