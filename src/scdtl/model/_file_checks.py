"""What a file says of a model, checked before a model is made of it."""

from __future__ import annotations

import inspect
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from scdtl._constants import REGISTRY_KEYS

_LARGEST_PARAMETER = 1_000_000


def checked_parameters(cls: type, init_params: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the constructor, of the types and sizes that it expects.

    Parameters
    ----------
    cls
        Class of the model.
    init_params
        What the file says of them, as scvi-tools keeps it.
    """
    parameters = dict(init_params["non_kwargs"])
    for group in init_params["kwargs"].values():
        parameters |= group
    known = inspect.signature(cls).parameters
    for name, value in parameters.items():
        kind: Any = type(known[name].default)
        kind = {int: Integral, float: Real}.get(kind, kind)
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise TypeError(f"{name}={value!r} is of the wrong type")
        if isinstance(value, Real) and not 0 <= float(value) <= _LARGEST_PARAMETER:
            raise ValueError(f"{name}={value!r} is out of range")
    return parameters


def checked_setup(cls: Any, registry: dict[str, Any], genes: list[str]) -> dict[str, Any]:
    """Arguments of ``setup_anndata``, if they and the registry are those of the class.

    Parameters
    ----------
    cls
        Class of the model.
    registry
        Registry in the file.
    genes
        Names of the genes in the file.
    """
    setup_args: dict[str, Any] = registry["setup_args"]
    known = inspect.signature(cls.setup_anndata).parameters
    for name, value in setup_args.items():
        if name not in known or not isinstance(value, str | None):
            raise TypeError(f"{name}={value!r} is no argument of setup_anndata")
    fields = registry["field_registries"]
    of_genes = fields[REGISTRY_KEYS.X_KEY]
    counts = {"genes": (of_genes["summary_stats"]["n_vars"], genes)}
    counts["columns"] = (of_genes["state_registry"]["n_vars"], genes)
    for key, field in fields.items():
        if "categorical_mapping" in field["state_registry"]:
            names = field["state_registry"]["categorical_mapping"]
            counts[key] = (field["summary_stats"][f"n_{key}"], names)
    for key, (count, names) in counts.items():
        if not isinstance(count, int) or count != len(names):
            raise ValueError(f"there are {len(names)} names of {key}, and not {count}")
    return setup_args


def check_network(tensors: dict[str, torch.Tensor], blueprint: dict[str, torch.Tensor]) -> None:
    """Refuse other tensors than those of a network that the file's parameters build.

    Parameters
    ----------
    tensors
        Tensors of the file.
    blueprint
        Those of a network without memory.
    """
    if odd := tensors.keys() ^ blueprint.keys():
        raise ValueError(f"missing or unexpected tensors: {', '.join(sorted(odd))}")
    for name, value in tensors.items():
        expected = blueprint[name]
        if value.shape != expected.shape:
            raise ValueError(f"{name} has shape {list(value.shape)}, not {list(expected.shape)}")
        if value.is_floating_point() != expected.is_floating_point():
            raise TypeError(f"{name} has dtype {value.dtype}, not {expected.dtype}")
        if not value.isfinite().all():
            raise ValueError(f"{name} has values that are not finite")
    order = tensors.get("gene_order")
    if order is not None and not order.sort().values.equal(torch.arange(len(order))):
        raise ValueError("gene_order is no permutation")


def check_attributes(attributes: dict[str, Any], untrained: dict[str, Any]) -> None:
    """Refuse attributes of another type or size than a new model has.

    Parameters
    ----------
    attributes
        Attributes in the file.
    untrained
        Attributes of a model that was built with the file's parameters.
    """
    for name, value in attributes.items():
        expected = untrained.get(name)
        if expected is not None and type(value) is not type(expected):
            raise TypeError(f"{name} is of the wrong type")
        if isinstance(expected, np.ndarray) and (
            value.shape != expected.shape or value.dtype != expected.dtype
        ):
            raise ValueError(f"{name} has {value.dtype} {list(value.shape)}")
