"""The weight file: bulk weights and all that goes with them, as safetensors with a JSON header."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from scdtl._files import written_whole
from scdtl.pretrained._fetch import fetch
from scdtl.pretrained._registry import read_registry

SCHEMA = 1
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
        Hash of the file they came from, empty for weights that were never saved.
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


def load_weights(name_or_path: str | Path) -> BulkWeights:
    """Read bulk weights by their name or from a file.

    Parameters
    ----------
    name_or_path
        Name of released weights (see :func:`available`), which are downloaded if they are
        neither in the package nor in the cache, or path of a ``.safetensors`` file written by
        :meth:`scdtl.BulkDAE.export`.

    Returns
    -------
    The weights, as float32.

    Raises
    ------
    FileNotFoundError
        If there is neither a file nor released weights of that name, or these would have to be
        downloaded and ``scdtl.settings.offline`` is set.
    ConnectionError
        If the download fails.
    ValueError
        If the file is not a weight file of this package, or is damaged.

    Examples
    --------
    >>> import scdtl
    >>> weights = scdtl.pretrained.load_weights("human")
    >>> weights.architecture
    {'n_hidden': 128, 'n_latent': 32}
    """
    path = _locate(name_or_path)
    content_hash = hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        with safe_open(path, framework="numpy") as file:
            header = _read_header(file.metadata(), path)
            _check_shapes(
                {key: file.get_slice(key).get_shape() for key in file.keys()}, header, path
            )
            tensors = {key: file.get_tensor(key) for key in _TENSORS}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    tensors = {
        key: value if key == "gene_order" else value.astype(np.float32)
        for key, value in tensors.items()
    }
    _check_values(tensors, path)
    return BulkWeights(
        tensors,
        header["genes"],
        header["ensembl_ids"],
        header["architecture"],
        header["provenance"],
        content_hash,
    )


def _locate(name_or_path: str | Path) -> Path:
    if isinstance(name_or_path, str) and name_or_path in read_registry():
        return fetch(name_or_path)
    path = Path(name_or_path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No bulk weights {str(name_or_path)!r}: not a file, and not among the released "
            f"weights ({', '.join(read_registry())})."
        )
    return path


def _read_header(metadata: dict[str, str] | None, path: Path) -> dict[str, Any]:
    try:
        header = json.loads((metadata or {})["scdtl"])
        schema = header["schema"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} has no scdtl header: it is no weight file of scdtl.") from error
    if schema != SCHEMA:
        raise ValueError(
            f"{path} has schema {schema}, this version of scdtl reads schema {SCHEMA}. "
            "Update scdtl, or export the weights anew."
        )
    lists = all(
        isinstance(header.get(key), list) and all(isinstance(g, str) for g in header[key])
        for key in ("genes", "ensembl_ids")
    )
    if not lists or len(set(header["genes"])) != len(header["genes"]):
        raise ValueError(f"{path}: its header has no valid list of genes.")
    architecture = header.get("architecture")
    if not isinstance(architecture, dict) or not all(
        isinstance(architecture.get(key), int) for key in ("n_hidden", "n_latent")
    ):
        raise ValueError(f"{path}: its header does not state the architecture.")
    if not isinstance(header.get("provenance"), dict):
        raise ValueError(f"{path}: its header does not state the provenance.")
    return header


def _check_shapes(shapes: dict[str, list[int]], header: dict[str, Any], path: Path) -> None:
    if set(shapes) != _TENSORS:
        odd = ", ".join(sorted(set(shapes) ^ _TENSORS))
        raise ValueError(f"{path}: missing or unexpected tensors: {odd}.")
    n_genes = len(header["genes"])
    n_hidden, n_latent = (header["architecture"][key] for key in ("n_hidden", "n_latent"))
    expected: dict[str, list[int]] = {
        "encoder.genes.weight": [n_hidden, n_genes],
        "encoder.latent.weight": [n_latent, n_hidden],
        "encoder.latent.bias": [n_latent],
        "decoder.latent.weight": [n_hidden, n_latent],
        "decoder.genes.weight": [n_genes, n_hidden],
        "decoder.genes.bias": [n_genes],
        "log_mean": [n_genes],
        "gene_order": [n_genes],
        "latents": [shapes["latents"][0] if shapes["latents"] else 0, n_latent],
    }
    for key, shape in shapes.items():
        if list(shape) != expected.get(key, [n_hidden]):
            raise ValueError(
                f"{path}: tensor {key} has shape {list(shape)}, its header says "
                f"{expected.get(key, [n_hidden])}."
            )
    if len(header["ensembl_ids"]) != n_genes:
        raise ValueError(f"{path}: as many Ensembl ids as genes are needed (empty if unknown).")


def _check_values(tensors: dict[str, np.ndarray], path: Path) -> None:
    for key, value in tensors.items():
        if not np.isfinite(value).all():
            raise ValueError(f"{path}: tensor {key} has values that are not finite.")
    order = tensors["gene_order"]
    if not np.array_equal(np.sort(order), np.arange(len(order))):
        raise ValueError(f"{path}: gene_order is no permutation.")
