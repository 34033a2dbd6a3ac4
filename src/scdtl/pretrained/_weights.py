"""The weight file: bulk weights and all that goes with them, as safetensors with a JSON header."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from scdtl._files import written_whole
from scdtl.pretrained._fetch import fetch
from scdtl.pretrained._registry import read_registry

SCHEMA = 1
# No honest file comes near these; a forged one takes no more memory than they allow.
_MOST_BYTES = 2**29
_MOST_HEADER_BYTES = 2**24
_MOST_GENES = 200_000
_MOST_UNITS = 10_000
_MOST_LATENTS = 100_000
_LARGEST_VALUE = float(np.finfo(np.float16).max)
_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")  # JSON can say what neither UTF-8 nor HDF5 can
_FLOATS = ("F16", "F32", "F64")
_ARCHITECTURE = ("n_hidden", "n_latent")
_TENSORS = frozenset(
    {
        "encoder.genes.weight",
        "encoder.genes.bias",
        "encoder.hidden.0.weight",
        "encoder.hidden.0.bias",
        "encoder.latent.weight",
        "encoder.latent.bias",
        "decoder.latent.weight",
        "decoder.latent.bias",
        "decoder.hidden.0.weight",
        "decoder.hidden.0.bias",
        "decoder.genes.weight",
        "decoder.genes.bias",
        "log_mean",
        "gene_order",
        "latents",
    }
)


@dataclass(frozen=True)
class BulkWeights:
    """A trained bulk DAE as arrays, independent of torch and of any AnnData.

    Attributes
    ----------
    tensors
        Weights of encoder and decoder; ``log_mean`` (genes), the log of the mean bulk profile;
        ``gene_order``, which sorts the genes by co-expression; ``latents`` of pseudo-cells.
    genes
        Gene symbols, in the order of the weights.
    ensembl_ids
        Ensembl gene ids beside the symbols, empty where unknown.
    architecture
        ``n_hidden`` and ``n_latent``.
    provenance
        Name, species, studies, licences, training; free JSON.
    sha256
        Hash of the file they came from, or of what they hold if they were never saved: own bulk
        samples, if they were given as ``bulk=``, or else genes and tensors.

    Examples
    --------
    >>> import scdtl
    >>> weights = scdtl.pretrained.load_weights("human")
    >>> weights.name, len(weights.genes)
    ('human', 18938)
    """

    tensors: dict[str, np.ndarray]
    genes: list[str]
    ensembl_ids: list[str]
    architecture: dict[str, int]
    provenance: dict[str, Any]
    sha256: str = ""

    @property
    def name(self) -> str:
        """Name of the weights, ``"unnamed"`` unless the provenance has one."""
        return str(self.provenance.get("name", "unnamed"))


def save_weights(weights: BulkWeights, path: str | Path) -> str:
    """Write weights as float16 safetensors and return the file's sha256.

    Parameters
    ----------
    weights
        What to write.
    path
        File to write; replaced whole or not at all.

    Returns
    -------
    The sha256 of the file.

    Examples
    --------
    >>> import scdtl
    >>> weights = scdtl.pretrained.load_weights("human")
    >>> sha256 = scdtl.pretrained.save_weights(weights, "copy.safetensors")
    """
    header = {
        "schema": SCHEMA,
        "genes": weights.genes,
        "ensembl_ids": weights.ensembl_ids,
        "architecture": weights.architecture,
        "provenance": weights.provenance,
    }
    tensors = {
        key: np.ascontiguousarray(value, np.int32 if key == "gene_order" else np.float16)
        for key, value in weights.tensors.items()
    }
    content = save(tensors, metadata={"scdtl": json.dumps(header)})
    with written_whole(Path(path)) as file:
        file.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def load_weights(name_or_path: str | Path, *, verbose: bool | None = None) -> BulkWeights:
    """Read bulk weights by their name or from a file.

    A file holds numbers and text and no code. Its header is checked before its tensors are read,
    and nothing of a file that does not fit is used.

    Parameters
    ----------
    name_or_path
        Name of released weights (see :func:`available`), which :func:`fetch` finds, or path of a
        ``.safetensors`` file written by :meth:`scdtl.BulkDAE.export`.
    verbose
        Show the bar of a download; as in :func:`fetch`.

    Returns
    -------
    The weights, as float32.

    Raises
    ------
    FileNotFoundError
        If there is neither a file nor released weights of that name, or :func:`fetch` does not
        find them.
    ConnectionError
        If the download fails.
    ValueError
        If the file is not a weight file of this package, or is damaged.
    OSError
        If the file can't be read.

    Examples
    --------
    >>> import scdtl
    >>> weights = scdtl.pretrained.load_weights("human")
    >>> weights.architecture
    {'n_hidden': 128, 'n_latent': 32}
    """
    path = _locate(name_or_path, verbose)
    try:
        return _read(path)
    except SafetensorError as error:
        raise _refusal(path, f"is not a whole safetensors file: {error}") from error
    except _Misfit as error:
        raise _refusal(path, str(error)) from error


class _Misfit(Exception):
    """What is wrong with a file, as the end of a sentence that begins with its path."""


def _refusal(path: Path, what: str) -> ValueError:
    return ValueError(
        f"{path} {what.rstrip('.')}. Nothing of it is used: write it again with "
        "scdtl.BulkDAE.export, or name released weights (scdtl.pretrained.available)."
    )


def _locate(name_or_path: str | Path, verbose: bool | None) -> Path:
    if isinstance(name_or_path, str) and name_or_path in read_registry():
        return fetch(name_or_path, verbose=verbose)
    if not isinstance(name_or_path, str | PathLike):
        raise TypeError(
            "Bulk weights are given by a name or a path, not by an object of type "
            f"{type(name_or_path).__name__}."
        )
    path = Path(name_or_path)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # too long for a path, or with a null byte
        is_file = False
    if not is_file:
        raise FileNotFoundError(
            f"No bulk weights {str(name_or_path)!r}: not a file, and not among the released "
            f"weights ({', '.join(read_registry())})."
        )
    return path


def _read(path: Path) -> BulkWeights:
    """Read a file step by step, each after what came before was found in order."""
    _check_sizes(path)
    with path.open("rb") as binary:
        sha256 = hashlib.file_digest(binary, "sha256").hexdigest()
    with safe_open(path, framework="numpy") as file:
        header = _read_header(file.metadata())
        _check_tensors({key: file.get_slice(key) for key in file.keys()}, header)
        tensors = {key: file.get_tensor(key) for key in sorted(_TENSORS)}
    _check_values(tensors)
    return BulkWeights(
        {
            key: value if key == "gene_order" else value.astype(np.float32)
            for key, value in tensors.items()
        },
        header["genes"],
        header["ensembl_ids"],
        header["architecture"],
        header["provenance"],
        sha256,
    )


def _check_sizes(path: Path) -> None:
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise _Misfit(f"has {size} bytes, weight files have at most {_MOST_BYTES}")
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
    if header_size > _MOST_HEADER_BYTES:
        raise _Misfit(
            f"is not a whole safetensors file: it announces a header of {header_size} bytes, "
            f"weight files have at most {_MOST_HEADER_BYTES}"
        )


def _read_header(metadata: dict[str, str] | None) -> dict[str, Any]:
    try:
        header = json.loads((metadata or {})["scdtl"])
        schema = header["schema"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _Misfit("has no scdtl header: it is no weight file of scdtl") from error
    if type(schema) is not int or schema != SCHEMA:
        raise _Misfit(
            f"has schema {str(schema)[:20]}, this version of scdtl reads schema {SCHEMA}: update "
            "scdtl if the file is newer"
        )
    _check_genes(header.get("genes"), header.get("ensembl_ids"))
    _check_architecture(header.get("architecture"))
    _check_provenance(header.get("provenance"))
    return header


def _check_genes(genes: Any, ensembl_ids: Any) -> None:
    if not (_is_list_of_texts(genes) and all(genes) and len(set(genes)) == len(genes)):
        raise _Misfit("has no valid list of genes: their names must be texts, each one once")
    if not 1 <= len(genes) <= _MOST_GENES:
        raise _Misfit(f"names {len(genes)} genes, weight files have 1 to {_MOST_GENES}")
    if not _is_list_of_texts(ensembl_ids):
        raise _Misfit("has no valid list of Ensembl ids")


def _is_list_of_texts(values: Any) -> bool:
    return isinstance(values, list) and all(map(_is_text, values))


def _is_text(value: Any) -> bool:
    """Whether the value is text that any file can keep."""
    return isinstance(value, str) and not _NO_TEXT.search(value)


def _check_architecture(architecture: Any) -> None:
    if not (
        isinstance(architecture, dict)
        and architecture.keys() == set(_ARCHITECTURE)
        and all(type(n) is int and 1 <= n <= _MOST_UNITS for n in architecture.values())
    ):
        raise _Misfit(
            f"does not state the architecture, which is {' and '.join(_ARCHITECTURE)}, each "
            f"from 1 to {_MOST_UNITS}"
        )


def _check_provenance(provenance: Any) -> None:
    if not isinstance(provenance, dict):
        raise _Misfit("does not state the provenance")
    for key in ("name", "species"):
        if not _is_text(provenance.get(key, "")):
            raise _Misfit(f"states a provenance whose {key} is no text")


def _check_tensors(tensors: dict[str, Any], header: dict[str, Any]) -> None:
    """Compare names, types and shapes with the header; of the tensors nothing is read yet."""
    if set(tensors) != _TENSORS:
        odd = ", ".join(sorted(set(tensors) ^ _TENSORS))
        raise _Misfit(f"has missing or unexpected tensors: {_shortened(odd)}")
    n_genes = len(header["genes"])
    n_hidden, n_latent = (header["architecture"][key] for key in _ARCHITECTURE)
    n_latents = next(iter(tensors["latents"].get_shape()), 0)
    if not 1 <= n_latents <= _MOST_LATENTS:
        raise _Misfit(f"has {n_latents} pseudo-cells in latents, not 1 to {_MOST_LATENTS}")
    expected: dict[str, list[int]] = {
        "encoder.genes.weight": [n_hidden, n_genes],
        "encoder.latent.weight": [n_latent, n_hidden],
        "encoder.latent.bias": [n_latent],
        "decoder.latent.weight": [n_hidden, n_latent],
        "decoder.genes.weight": [n_genes, n_hidden],
        "decoder.genes.bias": [n_genes],
        "log_mean": [n_genes],
        "gene_order": [n_genes],
        "latents": [n_latents, n_latent],
    }
    for key, tensor in tensors.items():
        shape, wanted = list(tensor.get_shape()), expected.get(key, [n_hidden])
        if shape != wanted:
            raise _Misfit(
                f"does not fit: tensor {key} has shape {shape}, its header says {wanted}"
            )
        types = ("I32",) if key == "gene_order" else _FLOATS
        if tensor.get_dtype() not in types:
            raise _Misfit(
                f"does not fit: tensor {key} is of type {tensor.get_dtype()}, not "
                f"{' or '.join(types)}"
            )
    if len(header["ensembl_ids"]) != n_genes:
        raise _Misfit("needs as many Ensembl ids as genes (empty if unknown)")


def _shortened(text: str, most: int = 200) -> str:
    """The text on one line of bearable length."""
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= most else text[:most] + "..."


def _check_values(tensors: dict[str, np.ndarray]) -> None:
    for key, value in tensors.items():
        if key != "gene_order" and not (np.abs(value) <= _LARGEST_VALUE).all():
            raise _Misfit(
                f"does not fit: tensor {key} has values that are not finite, or too large for "
                "half precision"
            )
    order = tensors["gene_order"]
    if not np.array_equal(np.sort(order), np.arange(len(order))):
        raise _Misfit("does not fit: gene_order is no permutation")
