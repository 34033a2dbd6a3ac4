"""Models of version 0.1, whose schema is 1: all attributes, as JSON with objects of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    import numpy as np

_RENAMED = {"module.dispersion": "module.noise.dispersion"}


def attributes_and_network(
    header: dict[str, Any], tensors: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Attributes of the model that was saved, and tensors of its network by today's names."""
    network = {
        _RENAMED.get(name, name): value
        for name, value in tensors.items()
        if name.startswith("module.")
    }
    return _plain(header["attributes"], tensors), network


def _plain(value: Any, tensors: dict[str, np.ndarray]) -> Any:
    """The value that JSON stands for; one key that begins with "$" names what JSON lacks."""
    if isinstance(value, list):
        return [_plain(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    content: Any
    kind, content = next(iter(value.items()), ("", None))
    if not kind.startswith("$"):
        return {key: _plain(item, tensors) for key, item in value.items()}
    if kind == "$array":
        name, dtype = content
        return tensors[name].view(dtype) if dtype.startswith("datetime64") else tensors[name]
    content = _plain(content, tensors)
    if kind == "$table":
        return pd.DataFrame(dict(enumerate(content["columns"])), content["index"])
    if kind == "$scalar":
        return content[0]
    return float(content) if kind == "$float" else content
