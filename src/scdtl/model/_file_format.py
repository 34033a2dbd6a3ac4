"""The file of a model: safetensors, with JSON in the header, in which there is nothing to run."""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = 1
METADATA_KEY = "scdtl_model"
NETWORK = "module."
_RENAMED = {"module.dispersion": "module.noise.dispersion"}  # since version 0.1

_NEEDED_ATTRIBUTES = {"registry_", "init_params_"}
_WRONG_CONTENT = (
    SafetensorError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def is_saved(name: str) -> bool:
    """Whether an attribute of this name is part of the file.

    Parameters
    ----------
    name
        Name of an attribute.
    """
    return name.endswith("_") and not name.startswith("_") and name.isidentifier()


def sha256_of(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    """Hash of all that a file says, whichever way it is laid out.

    Parameters
    ----------
    header
        What the header says but the hash.
    tensors
        Tensors of the file.
    """
    digest = hashlib.sha256(json.dumps(header, allow_nan=False).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\n{name} {value.dtype.name} {value.shape}\n".encode())
        digest.update(value.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


# Values as JSON: what JSON does not know is an object with one key that begins with "$".


def encoded(value: Any, path: str, tensors: dict[str, np.ndarray]) -> Any:
    """JSON of a value; arrays of numbers are put among the tensors, under the value's path.

    Parameters
    ----------
    value
        What to write.
    path
        Name of the value, dotted.
    tensors
        Tensors of the file, to which some are added.
    """
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(float(value))}
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, np.number | np.bool_) and value.dtype.kind in "biuf":
        return {"$scalar": [encoded(value.item(), path, tensors), value.dtype.name]}
    if isinstance(value, dict):
        if odd := [key for key in value if not isinstance(key, str) or key.startswith("$")]:
            raise TypeError(f"{path} can't be saved as data: its key {odd[0]!r} is no plain text.")
        return {key: encoded(item, f"{path}.{key}", tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [encoded(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, pd.DataFrame):
        columns = [value.iloc[:, i].to_numpy() for i in range(value.shape[1])]
        parts = {"index": value.index.to_numpy(), "index_name": value.index.name}
        parts |= {"names": value.columns.to_numpy(), "columns": columns}
        return {"$table": encoded(parts, path, tensors)}
    if not isinstance(value, np.ndarray):
        raise TypeError(
            f"{path} can't be saved as data: it is a {type(value).__name__}. Attributes whose "
            "names end in _ may hold text, numbers, arrays, tables, and lists and dicts of these."
        )
    if value.dtype.kind in "OU" and value.ndim == 1:
        return {"$objects": encoded(value.tolist(), path, tensors)}
    dtype = value.dtype.newbyteorder("=")
    if dtype.kind not in "biufmM" or dtype.itemsize > 8:
        raise TypeError(f"{path} can't be saved as data: it is an array of {value.dtype}.")
    while path in tensors:
        path += "_"
    array = np.asarray(value, dtype, order="C")
    tensors[path] = array.view(np.int64) if dtype.kind in "mM" else array
    return {"$array": [path, str(dtype)]}


def _decoded(value: Any, tensors: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_decoded(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    content: Any
    key, content = next(iter(value.items()), ("", None))
    if not key.startswith("$"):
        return {key: _decoded(item, tensors) for key, item in value.items()}
    if key == "$array":
        name, dtype = content
        return tensors[name].view(dtype) if np.dtype(dtype).kind in "mM" else tensors[name]
    content = _decoded(content, tensors)
    if key == "$float":
        return float(content)
    if key == "$scalar":
        if np.dtype(content[1]).kind not in "biuf":
            raise TypeError(f"{content[1]} is no type of numbers")
        return np.dtype(content[1]).type(content[0])
    if key == "$tuple":
        return tuple(content)
    if key == "$objects":
        array: np.ndarray = np.empty(len(content), dtype=object)
        array[:] = content
        return array
    if key == "$table":
        index = pd.Index(content["index"], name=content["index_name"])
        table = pd.DataFrame(dict(enumerate(content["columns"])), index)
        return table.set_axis(content["names"], axis=1)
    raise ValueError(f"{key} is unknown")


# Reading


@contextmanager
def only_data_of_a_model(path: Path) -> Iterator[None]:
    """Whatever goes wrong with the content of a file is the file's fault.

    Parameters
    ----------
    path
        The file.
    """
    try:
        yield
    except _WRONG_CONTENT as error:
        raise ValueError(f"{path} is damaged or no model of scdtl: {error}") from error


def read_model(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, torch.Tensor]]:
    """Header, attributes, and the network's tensors; no more memory than the file has bytes.

    Parameters
    ----------
    path
        The file.
    """
    with only_data_of_a_model(path), safe_open(path, framework="numpy") as file:
        header = json.loads((file.metadata() or {})[METADATA_KEY])
        schema = header["schema"]
        names = file.keys() if schema == SCHEMA else []
        tensors = {name: file.get_tensor(name) for name in names}
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema}, this scdtl reads {SCHEMA}: update scdtl.")
    with only_data_of_a_model(path):
        if header.pop("sha256") != sha256_of(header, tensors):
            raise ValueError("its checksum is wrong")
        attributes = _decoded(header["attributes"], tensors)
        if not (all(map(is_saved, attributes)) and attributes.keys() >= _NEEDED_ATTRIBUTES):
            raise ValueError("missing or unexpected attributes")
        if not all(isinstance(name, str) for name in [header["class"], *header["var_names"]]):
            raise TypeError("its class or its genes have no names")
        network = {
            _RENAMED.get(name, name).removeprefix(NETWORK): torch.from_numpy(value)
            for name, value in tensors.items()
            if name.startswith(NETWORK)
        }
    return header, attributes, network
