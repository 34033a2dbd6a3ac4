"""The weight file: bulk weights and all that goes with them, as safetensors with a JSON header."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scdtl.pretrained._fetch import fetch
from scdtl.pretrained._registry import read_registry
from scdtl.pretrained._safetensors import FileKind, Misfit

_FILE = FileKind(
    "weight file",
    "scdtl",
    (1, 2),
    "write it again with scdtl.BulkDAE.export, or name released weights "
    "(scdtl.pretrained.available).",
)
_ARCHITECTURE = ("n_hidden", "n_latent")
_EIGHT_BIT = {"encoder.genes.weight": 0, "decoder.genes.weight": 1, "co_expression": 1}
"""Tensors that are stored as bytes with one scale per gene, and the axis of the other numbers."""
_SCALE = ".scale"


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
    ('human', 18656)
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
        header, tensors = _FILE.read(path)
        if header.pop("schema") == 1:
            tensors["co_expression"] = np.zeros((len(header["genes"]), 0))
        else:
            for name in _EIGHT_BIT:
                tensors[name] = _scaled(tensors[name], tensors.pop(name + _SCALE))
        weights = BulkWeights(_of_type(np.float32, tensors), **header)
        _check(weights)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return replace(weights, sha256=sha256)


def _locate(name_or_path: str | Path, verbose: bool | None) -> Path:
    if isinstance(name_or_path, str) and name_or_path in read_registry():
        return fetch(name_or_path, verbose=verbose)
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


def _scaled(value: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Their product, which has the shape of the value: a scale that is larger is refused."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
        return np.multiply(value, scale, out=np.empty(value.shape, np.float32))


def _check(weights: BulkWeights) -> None:
    """Refuse a file whose parts do not belong together."""
    genes, tensors = weights.genes, weights.tensors
    if not (genes and all(genes) and len(set(genes)) == len(genes)):
        raise Misfit("has no valid list of genes: each needs a name of its own")
    if len(weights.ensembl_ids) != len(genes):
        raise Misfit("needs as many Ensembl ids as genes (empty if unknown)")
    if weights.architecture.keys() != set(_ARCHITECTURE):
        raise Misfit(f"does not state the architecture, which is {' and '.join(_ARCHITECTURE)}")
    if not isinstance(weights.provenance, dict):
        raise Misfit("states no provenance")
    shapes = _shapes(len(genes), **weights.architecture)
    if odd := ", ".join(sorted(tensors.keys() ^ shapes.keys())):
        raise Misfit(f"has missing or unexpected tensors: {odd:.200}")
    for name, shape in shapes.items():
        value = tensors[name]
        if value.ndim != len(shape) or any(
            n not in (-1, actual) for n, actual in zip(shape, value.shape, strict=True)
        ):
            actual, stated = list(value.shape), list(shape)
            raise Misfit(f"does not fit: {name} has shape {actual}, its header says {stated}")
        if not np.isfinite(value).all():
            raise Misfit(f"does not fit: {name} has values that are not finite")
    if not np.array_equal(np.sort(tensors["gene_order"]), np.arange(len(genes))):
        raise Misfit("does not fit: gene_order is not a permutation")


def _shapes(n_genes: int, n_hidden: int, n_latent: int) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor; -1 is any number."""
    layers: dict[str, tuple[int, ...]] = {
        "encoder.genes": (n_hidden, n_genes),
        "encoder.hidden.0": (n_hidden,),
        "encoder.latent": (n_latent, n_hidden),
        "decoder.latent": (n_hidden, n_latent),
        "decoder.hidden.0": (n_hidden,),
        "decoder.genes": (n_genes, n_hidden),
    }
    return {
        **{f"{name}.weight": shape for name, shape in layers.items()},
        **{f"{name}.bias": shape[:1] for name, shape in layers.items()},
        "co_expression": (n_genes, -1),
        "log_mean": (n_genes,),
        "latents": (-1, n_latent),
        "gene_order": (n_genes,),
    }
