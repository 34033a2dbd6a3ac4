"""Models of version 0.1, whose schema is 1, in the form of schema 2."""

from __future__ import annotations

from typing import Any

import numpy as np

from scdtl.data._batches import plain_batches

_RENAMED = {"module.dispersion": "module.noise.dispersion"}
_ATTRIBUTES = ("is_trained_", "run_id_", "run_name_", "seed_", "transfer_", "training_end_")


def as_schema_2(
    old: dict[str, Any], tensors: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and tensors as a file of schema 2 has them."""
    attributes = {name: _plain(value, tensors) for name, value in old["attributes"].items()}
    registry = attributes["registry_"]
    fields = registry["field_registries"]
    header = {
        "schema": 2,
        "model_name": old["class"],
        "versions": old["versions"],
        "genes": old["var_names"],
        "n_obs": fields["X"]["state_registry"]["n_obs"],
        "setup_args": registry["setup_args"],
        "categories": {
            name: plain_batches(field["state_registry"]["categorical_mapping"])
            for name, field in fields.items()
            if registry["setup_args"].get(f"{name}_key") is not None
        },
        "parameters": attributes["init_params_"]["non_kwargs"],
        **{name: attributes.get(name) for name in _ATTRIBUTES},
    }
    kept = {
        _RENAMED.get(name, name): value
        for name, value in tensors.items()
        if not name.startswith(("registry_.", "history_."))
    }
    if held_out := attributes.get("held_out_"):
        kept["held_out_.deviance_explained"] = np.float64(held_out["deviance_explained"])[...]
    for name, table in (attributes["history_"] or {}).items():
        rows = np.column_stack([table["index"], table["columns"][0]])
        kept[f"history_.{name}"] = rows.astype(np.float64)
    return header, kept


def _plain(value: Any, tensors: dict[str, np.ndarray]) -> Any:
    """The value of JSON in which an object whose one key begins with "$" is no JSON."""
    if isinstance(value, list):
        return [_plain(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()), ("", None))
    if kind == "$array":
        name, dtype = content
        return tensors[name].view(dtype) if dtype.startswith("datetime64") else tensors[name]
    if kind == "$scalar":
        return _plain(content[0], tensors)
    if kind == "$float":
        return float(content)
    if kind.startswith("$"):
        return _plain(content, tensors)
    return {key: _plain(item, tensors) for key, item in value.items()}
