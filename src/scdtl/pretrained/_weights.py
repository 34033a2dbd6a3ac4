"""The weight file: bulk weights and all that goes with them, as safetensors with a JSON header."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scdtl.pretrained._fetch import fetch
from scdtl.pretrained._registry import read_registry
from scdtl.pretrained._safetensors import FileKind, Misfit, Spec, check_header, check_tensors

_FILE = FileKind(
    "weight file",
    "scdtl",
    (1, 2),
    "write it again with scdtl.BulkDAE.export, or name released weights "
    "(scdtl.pretrained.available).",
)
_HEADER = {
    "schema": int,
    "genes": list[str],
    "ensembl_ids": list[str],
    "architecture": dict[str, int],
    "provenance": dict[str, Any],
}
_ARCHITECTURE = ("n_hidden", "n_latent")
_EIGHT_BIT = {"encoder.genes.weight": 0, "decoder.genes.weight": 1, "co_expression": 1}
"""Tensors that are stored as bytes with one scale per gene, and the axis of the other numbers."""
_SCALE = ".scale"
_MOST_BYTES = 2**29  # no honest weights come near


@dataclass(frozen=True)
class BulkWeights:
    """A trained bulk DAE as arrays, independent of torch and of any AnnData.

    Attributes
    ----------
    tensors
        Weights of encoder and decoder; ``log_mean`` (genes), the log of the mean bulk profile;
        ``gene_order``, which sorts the genes by co-expression; ``co_expression``, loadings of
        the genes on components of the samples (none in files of version 0.1); ``latents`` of
        pseudo-cells.
    genes
        Gene symbols, in the order of the weights.
    ensembl_ids
        Ensembl gene ids beside the symbols, empty where unknown.
    architecture
        ``n_hidden`` and ``n_latent``.
    provenance
        Name, species, studies, licences, training; free JSON.
    sha256
        Hash of the file they were read from, or of their content if they were never saved: the
        bulk samples passed as ``bulk=``, otherwise genes and tensors.

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

    @property
    def n_components(self) -> int:
        """Number of components of co-expression."""
        return self.tensors["co_expression"].shape[1]


def save_weights(weights: BulkWeights, path: str | Path) -> str:
    """Write weights as safetensors of 8 and 16 bits, and return the file's sha256.

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
        "schema": _FILE.schemas[-1],
        "genes": weights.genes,
        "ensembl_ids": weights.ensembl_ids,
        "architecture": weights.architecture,
        "provenance": weights.provenance,
    }
    tensors = _of_type(np.float16, weights.tensors)
    for name, axis in _EIGHT_BIT.items():
        value = weights.tensors[name]
        scale = np.abs(value).max(axis, keepdims=True, initial=0) / 127
        bytes_ = np.rint(np.divide(value, scale, out=np.zeros_like(value), where=scale > 0))
        tensors[name] = bytes_.astype(np.int8)
        tensors[name + _SCALE] = scale.astype(np.float32)
    return _FILE.write(Path(path), header, tensors)


def load_weights(name_or_path: str | Path, *, verbose: bool | None = None) -> BulkWeights:
    """Read bulk weights by name or from a file.

    A file holds numbers and text, no code. Its header is checked before its tensors are read, and
    an invalid file is not used at all.

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
    with _FILE.refusing(path):
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise Misfit(f"has {size} bytes, weight files have at most {_MOST_BYTES}")
        header, tensors = _FILE.read(path)
        _check_header(header)
        check_tensors(tensors, _expected(header))
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if header.pop("schema") == 1:
        tensors["co_expression"] = np.zeros((len(header["genes"]), 0), np.float32)
    else:
        for name in _EIGHT_BIT:
            tensors[name] = tensors[name] * tensors.pop(name + _SCALE)
    return BulkWeights(_of_type(np.float32, tensors), **header, sha256=sha256)


def _locate(name_or_path: str | Path, verbose: bool | None) -> Path:
    if isinstance(name_or_path, str) and name_or_path in read_registry():
        return fetch(name_or_path, verbose=verbose)
    if not isinstance(name_or_path, str | os.PathLike):
        raise TypeError(
            "Bulk weights are given by a name or a path, not by an object of type "
            f"{type(name_or_path).__name__}."
        )
    if not os.path.isfile(name_or_path):  # False, too, for what can be no path
        raise FileNotFoundError(
            f"No bulk weights {str(name_or_path)!r}: not a file, and not among the released "
            f"weights ({', '.join(read_registry())})."
        )
    return Path(name_or_path)


def _of_type(kind: type[np.floating], tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name: np.ascontiguousarray(value, np.int32 if name == "gene_order" else kind)
        for name, value in tensors.items()
    }


def _check_header(header: dict[str, Any]) -> None:
    check_header(header, _HEADER)
    genes, provenance = header["genes"], header["provenance"]
    if not (genes and all(genes) and len(set(genes)) == len(genes)):
        raise Misfit("has no valid list of genes: each needs a name of its own")
    if len(header["ensembl_ids"]) != len(genes):
        raise Misfit("needs as many Ensembl ids as genes (empty if unknown)")
    architecture = header["architecture"]
    if architecture.keys() != set(_ARCHITECTURE) or min(architecture.values()) < 1:
        raise Misfit(f"does not state the architecture, which is {' and '.join(_ARCHITECTURE)}")
    if not all(isinstance(provenance.get(key, ""), str) for key in ("name", "species")):
        raise Misfit("states a provenance whose name or species is not text")


def _expected(header: dict[str, Any]) -> dict[str, Spec]:
    """Shape and kind of each tensor."""
    n_genes = len(header["genes"])
    n_hidden, n_latent = (header["architecture"][key] for key in _ARCHITECTURE)
    layers: dict[str, tuple[int, ...]] = {
        "encoder.genes": (n_hidden, n_genes),
        "encoder.hidden.0": (n_hidden,),
        "encoder.latent": (n_latent, n_hidden),
        "decoder.latent": (n_hidden, n_latent),
        "decoder.hidden.0": (n_hidden,),
        "decoder.genes": (n_genes, n_hidden),
    }
    expected: dict[str, Spec] = {
        **{f"{name}.weight": (shape, "f") for name, shape in layers.items()},
        **{f"{name}.bias": (shape[:1], "f") for name, shape in layers.items()},
        "log_mean": ((n_genes,), "f"),
        "latents": ((None, n_latent), "f"),
        "gene_order": ((n_genes,), "i"),
    }
    if header["schema"] > 1:
        expected["co_expression"] = ((n_genes, None), "f")
        for name, axis in _EIGHT_BIT.items():
            shape = tuple(1 if i == axis else n for i, n in enumerate(expected[name][0]))
            expected[name] = (expected[name][0], "i")
            expected[name + _SCALE] = (shape, "f")
    return expected
