"""Models are saved as data: safetensors with a JSON header, in which there is nothing to run."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import warnings
from contextlib import contextmanager
from importlib.metadata import version
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import requests
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scvi.data import AnnDataManager
from scvi.model._utils import parse_device_args
from scvi.model.base import BaseModelClass
from scvi.train import SaveCheckpoint

from scdtl._constants import REGISTRY_KEYS
from scdtl._files import written_whole
from scdtl._settings import settings
from scdtl.pretrained._fetch import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anndata import AnnData

SCHEMA = 1

_FILE, _PICKLE, _ANNDATA = "model.safetensors", "model.pt", "adata.h5ad"
_METADATA_KEY = "scdtl_model"
_NETWORK = "module."
_FOR_PICKLES_ONLY = ("save_kwargs", "legacy_mudata_format", "datamodule")
_LARGEST_PARAMETER = 1_000_000
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


class SavedAsData(BaseModelClass):
    """Saving and loading with scvi-tools' arguments, without its pickle.

    Notes
    -----
    A directory holds ``model.safetensors``: the network's tensors (``module.*``); arrays among
    the model's attributes; and, as JSON in the header, the class, the versions that wrote it, the
    names of the genes, and all public attributes whose names end in ``_`` (the arguments of the
    constructor, the registry of the data, the history of training, ...), as in scvi-tools.
    """

    def save(
        self,
        dir_path: str | Path,
        prefix: str | None = None,
        overwrite: bool = False,
        save_anndata: bool = False,
        **anndata_write_kwargs: Any,
    ) -> None:
        """Save the model as safetensors and JSON; no pickle is written.

        Parameters
        ----------
        dir_path
            Directory to write ``model.safetensors`` to.
        prefix
            Put before the names of the files.
        overwrite
            Write into a directory that exists. Each file is replaced whole, or is as it was.
        save_anndata
            Also write the data, to ``adata.h5ad``.
        **anndata_write_kwargs
            Arguments of :meth:`~anndata.AnnData.write_h5ad`. Of scvi-tools' arguments,
            ``save_kwargs``, ``legacy_mudata_format`` and ``datamodule`` are not supported.

        Raises
        ------
        ValueError
            If the directory exists and ``overwrite`` is not set, or the network has values that
            are not finite.
        TypeError
            If an attribute can't be expressed as data. Nothing is written then.
        """
        for name in _FOR_PICKLES_ONLY:
            if anndata_write_kwargs.pop(name, None):
                raise TypeError(f"{name} is not supported by {type(self).__name__}.save.")
        if save_anndata and self.adata is None:
            raise ValueError("save_anndata=True needs a model that has data.")
        folder = Path(dir_path)
        if folder.exists() and not overwrite:
            raise ValueError(
                f"{folder} already exists: save to another directory, or set overwrite=True."
            )
        header, tensors = self._as_data()
        content = save(tensors, {_METADATA_KEY: json.dumps(header)})
        folder.mkdir(parents=True, exist_ok=True)
        if save_anndata:
            with written_whole(folder / f"{prefix or ''}{_ANNDATA}") as file:
                self.adata.write_h5ad(file, **anndata_write_kwargs)
        with written_whole(folder / f"{prefix or ''}{_FILE}") as file:
            file.write_bytes(content)

    @classmethod
    def load(
        cls,
        dir_path: str | Path,
        adata: AnnData | bool | None = None,
        accelerator: str = "auto",
        device: int | str = "auto",
        prefix: str | None = None,
        backup_url: str | None = None,
    ):
        """Load a model that :meth:`~scdtl.SCDTL.save` wrote; nothing in the file is run.

        Parameters
        ----------
        dir_path
            Directory with ``model.safetensors``.
        adata
            Data with the genes of training in the same order; they are set up as then. ``None``
            for those that were saved with the model, ``False`` for none.
        accelerator, device
            As in scvi-tools.
        prefix
            Put before the names of the files.
        backup_url
            Where to download the file from if it does not exist.

        Returns
        -------
        The model. Of scvi-tools' arguments, ``datamodule`` and ``allowed_classes_names_list`` are
        not supported.

        Raises
        ------
        FileNotFoundError
            If there is no file, or it would have to be downloaded and ``scdtl.settings.offline``
            is set.
        ConnectionError
            If the download fails.
        ValueError
            If there is only a pickle, which is never opened; if the file is damaged, or not a
            model of this class; or if ``adata`` has other genes, an unknown batch, or lacks the
            column or the layer of the setup.
        """
        torch_device = parse_device_args(
            accelerator=accelerator,
            devices=device,
            return_device="torch",
            validate_single_device=True,
        )[2]
        path = _locate(Path(dir_path), prefix, backup_url)
        header, attributes, tensors = _read(path)
        if header["class"] != cls.__name__:
            raise ValueError(f"{path} holds a {header['class']}, not a {cls.__name__}.")
        registry, parameters = attributes.pop("registry_"), attributes.pop("init_params_")
        with _only_data_of_a_model(path):
            parameters = _checked_parameters(cls, parameters)
            setup_args = _checked_setup(cls, registry, header["var_names"])
            # Its first weights are drawn, but take no memory.
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                blueprint = cls(None, registry, **parameters).module.state_dict()
            _check_network(tensors, blueprint)
        if adata is None:
            adata = _saved_anndata(path.with_name(f"{prefix or ''}{_ANNDATA}"))
        if not isinstance(adata, bool):
            if not np.array_equal(adata.var_names.astype(str), header["var_names"]):
                raise ValueError(
                    "adata.var_names are not the genes that the model was trained on, in the same "
                    "order. Load the model with adata=False and give it the data later, or sort "
                    "and name their genes like load_registry(dir_path) does."
                )
            try:
                cls.setup_anndata(adata, source_registry=registry, **setup_args)
            except (AttributeError, LookupError, TypeError) as error:
                raise ValueError(f"adata can't be set up as {path} says: {error}") from error
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and not needed
            model = cls(None if isinstance(adata, bool) else adata, registry, **parameters)
        with _only_data_of_a_model(path):
            for name, value in attributes.items():
                setattr(model, name, value)
            model.module.on_load(model)
            model.module.load_state_dict(tensors)
        model.to_device(torch_device)
        model.module.eval()
        if not isinstance(adata, bool):
            model._validate_anndata(adata)
        return model

    @staticmethod
    def load_registry(dir_path: str | Path, prefix: str | None = None) -> dict:
        """Return how the data of a saved model were set up.

        Parameters
        ----------
        dir_path, prefix
            As in :meth:`load`.

        Returns
        -------
        The registry, in the form that scvi-tools keeps it in.
        """
        return _read(_locate(Path(dir_path), prefix, None))[1]["registry_"]

    @staticmethod
    def view_setup_args(dir_path: str | Path, prefix: str | None = None) -> None:
        """Print the arguments with which the data of a saved model were set up.

        Parameters
        ----------
        dir_path, prefix
            As in :meth:`load`.
        """
        import rich.pretty  # noqa: F401 - scvi-tools uses it and may not have imported it

        AnnDataManager.view_setup_method_args(SavedAsData.load_registry(dir_path, prefix))

    @classmethod
    def convert_legacy_save(cls, *args: Any, **kwargs: Any) -> None:
        """Refuse to: models of scvi-tools before 0.15 are pickles, and none is of this class."""
        raise NotImplementedError(f"No {cls.__name__} was ever saved in the legacy format.")

    def _as_data(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Header and tensors of the file."""
        tensors = {}
        for name, value in self.module.state_dict().items():
            if not value.isfinite().all():
                raise ValueError(
                    f"The network's {name} has values that are not finite: nothing is saved."
                )
            tensors[_NETWORK + name] = np.asarray(value.cpu().numpy(), order="C")
        # Of the instance only: properties would be computed for saving.
        attributes = {name: vars(self)[name] for name in sorted(vars(self)) if _is_saved(name)}
        header = {
            "schema": SCHEMA,
            "class": type(self).__name__,
            "versions": {name: version(name) for name in ("scdtl", "scvi-tools", "torch")},
            "var_names": [str(name) for name in self.get_var_names()],
            "attributes": {
                name: _encoded(value, name, tensors) for name, value in attributes.items()
            },
        }
        return header | {"sha256": _sha256(header, tensors)}, tensors


def refuse_checkpoints_to_open(callbacks: Iterable[Any] | None) -> None:
    """Refuse scvi-tools' ways back to a checkpoint, which look for a pickle.

    Parameters
    ----------
    callbacks
        What the caller gives the trainer.
    """
    for callback in callbacks or ():
        if isinstance(callback, SaveCheckpoint) and (
            callback.load_best_on_end or callback.check_nan_gradients
        ):
            raise ValueError(
                "SaveCheckpoint's load_best_on_end and check_nan_gradients open a pickle, which "
                "is never written here. Leave them out: training ends on the best weights anyway."
            )


def _is_saved(name: str) -> bool:
    return name.endswith("_") and not name.startswith("_") and name.isidentifier()


def _sha256(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    """Hash of all that a file says, whichever way it is laid out."""
    digest = hashlib.sha256(json.dumps(header, allow_nan=False).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\n{name} {value.dtype.name} {value.shape}\n".encode())
        digest.update(value.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


# Values as JSON: what JSON does not know is an object with one key that begins with "$".


def _encoded(value: Any, path: str, tensors: dict[str, np.ndarray]) -> Any:
    """JSON of a value; arrays of numbers are put among the tensors, under the value's path."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(float(value))}
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, np.number | np.bool_) and value.dtype.kind in "biuf":
        return {"$scalar": [_encoded(value.item(), path, tensors), value.dtype.name]}
    if isinstance(value, dict):
        if odd := [key for key in value if not isinstance(key, str) or key.startswith("$")]:
            raise TypeError(f"{path} can't be saved as data: its key {odd[0]!r} is no plain text.")
        return {key: _encoded(item, f"{path}.{key}", tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_encoded(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, pd.DataFrame):
        columns = [value.iloc[:, i].to_numpy() for i in range(value.shape[1])]
        parts = {"index": value.index.to_numpy(), "index_name": value.index.name}
        parts |= {"names": value.columns.to_numpy(), "columns": columns}
        return {"$table": _encoded(parts, path, tensors)}
    if not isinstance(value, np.ndarray):
        raise TypeError(
            f"{path} can't be saved as data: it is a {type(value).__name__}. Attributes whose "
            "names end in _ may hold text, numbers, arrays, tables, and lists and dicts of these."
        )
    if value.dtype.kind in "OU" and value.ndim == 1:
        return {"$objects": _encoded(value.tolist(), path, tensors)}
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


# Reading: everything is checked before a model is made of it.


def _locate(folder: Path, prefix: str | None, backup_url: str | None) -> Path:
    """Path of the file; a pickle in its place is refused unopened."""
    path, pickle = (folder / f"{prefix or ''}{name}" for name in (_FILE, _PICKLE))
    if path.is_file():
        return path
    if pickle.is_file():
        raise ValueError(
            f"{pickle} is a pickle, as scvi-tools and development versions of scdtl write it. "
            "Opening it could run any code, so this version does not. Train the model again and "
            "save it, or use the file with the version that wrote it if you trust its origin."
        )
    if backup_url is None:
        raise FileNotFoundError(f"{path} does not exist: no model was saved there.")
    if settings.offline:
        raise FileNotFoundError(f"{path} does not exist and scdtl is offline.")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with requests.get(backup_url, stream=True, timeout=TIMEOUT) as response:
            response.raise_for_status()
            with written_whole(path) as temporary, temporary.open("wb") as file:
                for piece in response.iter_content(2**16):
                    file.write(piece)
    except requests.RequestException as error:
        raise ConnectionError(f"Cannot download {path.name} from {backup_url}: {error}") from error
    return path


@contextmanager
def _only_data_of_a_model(path: Path) -> Iterator[None]:
    """Whatever goes wrong with the content of a file is the file's fault."""
    try:
        yield
    except _WRONG_CONTENT as error:
        raise ValueError(f"{path} is damaged or no model of scdtl: {error}") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, torch.Tensor]]:
    """Header, attributes, and the network's tensors; no more memory than the file has bytes."""
    with _only_data_of_a_model(path), safe_open(path, framework="numpy") as file:
        header = json.loads((file.metadata() or {})[_METADATA_KEY])
        schema = header["schema"]
        names = file.keys() if schema == SCHEMA else []
        tensors = {name: file.get_tensor(name) for name in names}
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema}, this scdtl reads {SCHEMA}: update scdtl.")
    with _only_data_of_a_model(path):
        if header.pop("sha256") != _sha256(header, tensors):
            raise ValueError("its checksum is wrong")
        attributes = _decoded(header["attributes"], tensors)
        if not (all(map(_is_saved, attributes)) and attributes.keys() >= _NEEDED_ATTRIBUTES):
            raise ValueError("missing or unexpected attributes")
        if not all(isinstance(name, str) for name in [header["class"], *header["var_names"]]):
            raise TypeError("its class or its genes have no names")
        network = {
            name.removeprefix(_NETWORK): torch.from_numpy(value)
            for name, value in tensors.items()
            if name.startswith(_NETWORK)
        }
    return header, attributes, network


def _checked_parameters(cls: type, init_params: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the constructor, of the types and sizes that it expects."""
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


def _checked_setup(cls: Any, registry: dict[str, Any], genes: list[str]) -> dict[str, Any]:
    """Arguments of ``setup_anndata``, if they and the registry are those of the class."""
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


def _check_network(tensors: dict[str, torch.Tensor], blueprint: dict[str, torch.Tensor]) -> None:
    """Refuse other tensors than those of a network that the file's parameters build."""
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


def _saved_anndata(path: Path) -> AnnData | bool:
    if path.is_file():
        return anndata.read_h5ad(path)
    warnings.warn(
        f"{path} does not exist and no adata was given: the model is loaded without data.",
        UserWarning,
        stacklevel=3,
    )
    return False
