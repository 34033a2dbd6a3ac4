"""What the file of a model says: the one place that knows its schema."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from scdtl._constants import REGISTRY_KEYS
from scdtl.data._batches import plain_batches
from scdtl.model._schema_1 import attributes_and_network
from scdtl.module._co_expression import CoExpression
from scdtl.pretrained._safetensors import FileKind, Misfit, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE = FileKind(
    "model",
    "scdtl_model",
    (1, 2),
    "copy it again from where it was saved, or train the model again and save it.",
)
# Attributes of the model; None where it has none.
_ATTRIBUTES = ("is_trained_", "run_id_", "run_name_", "seed_", "transfer_", "training_end_")
# Arrays beside the network and the history of training, where there are.
_ARRAYS: dict[str, type] = {
    "gene_keys_": np.uint64,
    "in_bulk_": np.bool_,
    "held_out_.gene_deviance_explained": np.float32,
    "held_out_.trusted_genes": np.bool_,
    "held_out_.deviance_explained": np.float64,
    "train_indices_": np.int64,
    "validation_indices_": np.int64,
    "test_indices_": np.int64,
}
_NETWORK, _HISTORY, _HELD_OUT = "module.", "history_.", "held_out_."


def contents(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and tensors of the file of a model."""
    network = {
        _NETWORK + name: np.asarray(value.cpu().numpy(), order="C")
        for name, value in model.module.state_dict().items()
    }
    versions = {name: version(name) for name in ("scdtl", "scvi-tools", "torch")}
    header, tensors = _as_data(vars(model), network, model.get_var_names(), versions)
    return header | {"sha256": sha256_of(header, tensors)}, tensors


def _as_data(
    attributes: dict[str, Any],
    network: dict[str, np.ndarray],
    genes: Iterable[str],
    versions: dict[str, str],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    registry = attributes["registry_"]
    fields, setup_args = registry["field_registries"], registry["setup_args"]
    parameters = attributes["init_params_"]["non_kwargs"]
    header = {
        "schema": FILE.schemas[-1],
        "model_name": registry["model_name"],
        "versions": versions,
        "genes": [str(name) for name in genes],
        "n_obs": int(fields[REGISTRY_KEYS.X_KEY]["state_registry"]["n_obs"]),
        "setup_args": setup_args,
        "categories": {
            field: plain_batches(fields[field]["state_registry"]["categorical_mapping"])
            for field in columns(setup_args)
        },
        "parameters": {name: np.asarray(value).item() for name, value in parameters.items()},
        **{name: attributes.get(name) for name in _ATTRIBUTES},
    }
    held_out = attributes.get("held_out_", {})
    arrays = attributes | {_HELD_OUT + key: value for key, value in held_out.items()}
    tensors = dict(network)
    for name, dtype in _ARRAYS.items():
        if arrays.get(name) is not None:
            tensors[name] = np.asarray(arrays[name], dtype, order="C")
    for name, table in (attributes["history_"] or {}).items():
        rows = np.column_stack([table.index, table.iloc[:, 0]])
        tensors[_HISTORY + name] = rows.astype(np.float64)
    return header, tensors


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and tensors of a file, as the present schema has them."""
    header, tensors = FILE.read(path)
    if header.pop("sha256", None) != sha256_of(header, tensors):
        raise Misfit("is damaged: its checksum is wrong")
    if header["schema"] == 1:
        old = attributes_and_network(header, tensors)
        header, tensors = _as_data(*old, header["var_names"], header["versions"])
    if header["model_name"] == "SCDTL":
        if "n_components" not in header["parameters"]:  # there was no co-expression yet
            for name, buffer in CoExpression(len(header["genes"]), 0).named_buffers():
                tensors[f"{_NETWORK}co_expression.{name}"] = buffer.numpy()
        # What it was when no file said so.
        header["parameters"] = {"n_levels": 3, "n_components": 0} | header["parameters"]
    return header, tensors


def restore(model: Any, header: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """Give a new model what the file says beyond its parameters and its data."""
    values: dict[str, Any] = {name: header.get(name) for name in _ATTRIBUTES}
    network: dict[str, torch.Tensor] = {}
    history: dict[str, pd.DataFrame] = {}
    held_out: dict[str, Any] = {}
    for name, value in tensors.items():
        key = name.partition(".")[2]
        if name.startswith(_NETWORK):
            network[key] = torch.from_numpy(value)
        elif name.startswith(_HISTORY):
            epochs = pd.Index(value[:, 0].astype(np.int64), name="epoch")
            history[key] = pd.DataFrame({key: value[:, 1].astype(object)}, epochs)
        elif name.startswith(_HELD_OUT):
            held_out[key] = value if value.ndim else value.item()
        elif name in _ARRAYS:
            values[name] = value
    values |= {"history_": history or None, "held_out_": held_out or None}
    for name, value in values.items():
        if value is not None:
            setattr(model, name, value)
    model.module.load_state_dict(network)


def columns(setup_args: dict[str, str | None]) -> dict[str, str]:
    """Columns of ``obs`` that data were set up with, by scvi-tools' name of the field."""
    return {
        name.removesuffix("_key"): key
        for name, key in setup_args.items()
        if key and name.endswith("_key")
    }


def registry_of(header: dict[str, Any]) -> dict[str, Any]:
    """How the data were set up, in the form that scvi-tools keeps it in."""
    setup_args, genes, n_obs = header["setup_args"], header["genes"], header["n_obs"]
    layer = setup_args.get("layer")
    state = {"n_obs": n_obs, "n_vars": len(genes), "column_names": np.array(genes, dtype=object)}
    fields: dict[str, Any] = {
        REGISTRY_KEYS.X_KEY: {
            "data_registry": {"attr_name": "layers" if layer else "X", "attr_key": layer},
            "state_registry": state,
            "summary_stats": {"n_vars": len(genes), "n_cells": n_obs},
        }
    }
    for field in [name.removesuffix("_key") for name in setup_args if name.endswith("_key")]:
        categories = header["categories"].get(field, [0])
        column = f"_scvi_{field}"
        fields[field] = {
            "data_registry": {"attr_name": "obs", "attr_key": column},
            "state_registry": {
                "categorical_mapping": np.array(categories, dtype=object),
                "original_key": columns(setup_args).get(field, column),
            },
            "summary_stats": {f"n_{field}": len(categories)},
        }
    return {
        "scvi_version": header["versions"].get("scvi-tools"),
        "model_name": header["model_name"],
        "setup_args": setup_args,
        "field_registries": fields,
        "setup_method_name": "setup_anndata",
    }
