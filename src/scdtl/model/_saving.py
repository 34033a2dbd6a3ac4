"""Models are saved and loaded as data, with scvi-tools' arguments and without its pickle."""

from __future__ import annotations

import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anndata
import numpy as np
import pandas as pd
import requests
import torch
from safetensors.numpy import save
from scipy import sparse
from scvi.data import AnnDataManager
from scvi.model._utils import parse_device_args
from scvi.model.base import BaseModelClass
from scvi.train import SaveCheckpoint

from scdtl._compat import forget_anndata, one_process
from scdtl._files import written_whole
from scdtl._settings import settings
from scdtl.data._batches import batch_codes, batch_names
from scdtl.data._checks import check_anndata, check_has
from scdtl.data._features import genes_only
from scdtl.model._file_checks import (
    check_attributes,
    check_network,
    checked_parameters,
    checked_setup,
)
from scdtl.model._file_format import (
    METADATA_KEY,
    NETWORK,
    SCHEMA,
    encoded,
    is_saved,
    only_data_of_a_model,
    read_model,
    sha256_of,
)
from scdtl.pretrained._fetch import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

_FILE, _PICKLE, _ANNDATA = "model.safetensors", "model.pt", "adata.h5ad"
_FOR_PICKLES_ONLY = ("save_kwargs", "legacy_mudata_format", "datamodule")


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
        content = save(tensors, {METADATA_KEY: json.dumps(header)})
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
        with one_process():
            torch_device = parse_device_args(
                accelerator=accelerator,
                devices=device,
                return_device="torch",
                validate_single_device=True,
            )[2]
        path = _locate(Path(dir_path), prefix, backup_url)
        header, attributes, tensors = read_model(path)
        if header["class"] != cls.__name__:
            raise ValueError(f"{path} holds a {header['class']}, not a {cls.__name__}.")
        registry, parameters = attributes.pop("registry_"), attributes.pop("init_params_")
        with only_data_of_a_model(path):
            parameters = checked_parameters(cls, parameters)
            setup_args = checked_setup(cls, registry, header["var_names"])
            # Its first weights are drawn, but take no memory.
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                blueprint = cls(None, registry, **parameters).module.state_dict()
            check_network(tensors, blueprint)
        if adata is None:
            adata = _saved_anndata(path.with_name(f"{prefix or ''}{_ANNDATA}"))
        if not isinstance(adata, bool):
            check_anndata(adata)
            cells = genes_only(cast("AnnData", adata))
            if not np.array_equal(cells.var_names.astype(str), header["var_names"]):
                raise ValueError(
                    "adata.var_names are not the genes that the model was trained on, in the same "
                    "order. Load the model with adata=False and give it the data later, or sort "
                    "and name their genes like load_registry(dir_path) does."
                )
            try:
                adata = _as_set_up(cells, registry, setup_args)
                cls.setup_anndata(adata, source_registry=registry, **setup_args)
            except (AttributeError, LookupError, TypeError) as error:
                problem = error.args[0] if error.args else error
                raise ValueError(f"adata can't be set up as {path} says: {problem}") from error
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and not needed
            model = cls(None if isinstance(adata, bool) else adata, registry, **parameters)
        with only_data_of_a_model(path):
            check_attributes(attributes, dict(vars(model)))
            for name, value in attributes.items():
                setattr(model, name, value)
            model.module.on_load(model)
            model.module.load_state_dict(tensors)
        model.to_device(torch_device)
        model.module.eval()
        if not isinstance(adata, bool):
            forget_anndata(cls, adata)
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
        return read_model(_locate(Path(dir_path), prefix, None))[1]["registry_"]

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
            tensors[NETWORK + name] = np.asarray(value.cpu().numpy(), order="C")
        # Of the instance only: properties would be computed for saving.
        attributes = {name: vars(self)[name] for name in sorted(vars(self)) if is_saved(name)}
        header = {
            "schema": SCHEMA,
            "class": type(self).__name__,
            "versions": {name: version(name) for name in ("scdtl", "scvi-tools", "torch")},
            "var_names": [str(name) for name in self.get_var_names()],
            "attributes": {
                name: encoded(value, name, tensors) for name, value in attributes.items()
            },
        }
        return header | {"sha256": sha256_of(header, tensors)}, tensors


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


def _as_set_up(adata: AnnData, registry: dict[str, Any], setup_args: dict[str, Any]) -> AnnData:
    """What a model needs of its data, in an AnnData of its own: the user's stays as it is.

    Categories are names there and in the registry, whatever kind of values the columns hold.
    """
    keys = {
        argument.removesuffix("_key"): key
        for argument, key in setup_args.items()
        if argument.endswith("_key") and key is not None
    }
    check_has(adata, setup_args["layer"], keys.values())
    obs = pd.DataFrame(index=adata.obs_names)
    for field, key in keys.items():
        state = registry["field_registries"][field]["state_registry"]
        known = batch_names(state["categorical_mapping"])
        state["categorical_mapping"] = np.array(known, dtype=object)
        codes = batch_codes(adata.obs[key], key, known)
        obs[key] = pd.Categorical(np.array(known, dtype=object)[codes], categories=known)
    layer = setup_args["layer"]
    matrix = adata.X if layer is None else adata.layers[layer]
    matrix = matrix.tocsr() if sparse.issparse(matrix) else matrix
    return anndata.AnnData(
        matrix if layer is None else None,
        obs=obs,
        var=adata.var.copy(),
        layers={} if layer is None else {layer: matrix},
    )


def _saved_anndata(path: Path) -> AnnData | bool:
    if path.is_file():
        return anndata.read_h5ad(path)
    warnings.warn(
        f"{path} does not exist and no adata was given: the model is loaded without data.",
        UserWarning,
        stacklevel=3,
    )
    return False
