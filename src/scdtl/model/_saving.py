"""Saving and loading models as data, with scvi-tools' arguments and without its pickle."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anndata
import numpy as np
import pandas as pd
import torch
from scipy import sparse
from scvi.data import AnnDataManager
from scvi.model.base import BaseModelClass
from scvi.train import SaveCheckpoint

from scdtl._compat import device_of, forget_anndata
from scdtl._constants import SAMPLE_KEY
from scdtl._files import written_whole
from scdtl.data._batches import batch_codes, batch_names
from scdtl.data._checks import check_anndata, check_has
from scdtl.data._features import genes_only
from scdtl.model._genes import check_genes
from scdtl.model._schema import FILE, columns, contents, read, registry_of, restore
from scdtl.pretrained._safetensors import Misfit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

_FILE, _PICKLE, _ANNDATA = "model.safetensors", "model.pt", "adata.h5ad"


class SavedAsData(BaseModelClass):
    """Saving and loading with scvi-tools' arguments, without its pickle.

    Notes
    -----
    A directory holds ``model.safetensors``: the network's tensors (``module.*``), a few arrays
    and, as JSON in the header, what :mod:`scdtl.model._schema` lists: class, genes, setup of the
    data, arguments of the constructor, ...
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

        Attributes that you add to a model are not saved.

        Parameters
        ----------
        dir_path
            Directory to write ``model.safetensors`` to.
        prefix
            Put before the names of the files.
        overwrite
            Write into an existing directory. Each file is replaced completely, or left unchanged.
        save_anndata
            Also write the data, to ``adata.h5ad``.
        **anndata_write_kwargs
            Arguments of :meth:`~anndata.AnnData.write_h5ad`. Those of scvi-tools that are for
            pickles, MuData and datamodules have no meaning here.

        Raises
        ------
        ValueError
            If the directory exists and ``overwrite`` is not set, or the network has values that
            are not finite.
        """
        if save_anndata and self.adata is None:
            raise ValueError("save_anndata=True needs a model that has data.")
        folder = Path(dir_path)
        if folder.exists() and not overwrite:
            raise ValueError(
                f"{folder} already exists: save to another directory, or set overwrite=True."
            )
        for name, value in self.module.state_dict().items():
            if not value.isfinite().all():
                raise ValueError(
                    f"The network's {name} has values that are not finite: nothing is saved."
                )
        header, tensors = contents(self)
        folder.mkdir(parents=True, exist_ok=True)
        if save_anndata:
            with written_whole(folder / f"{prefix or ''}{_ANNDATA}") as file:
                self.adata.write_h5ad(file, **anndata_write_kwargs)
        FILE.write(folder / f"{prefix or ''}{_FILE}", header, tensors)

    @classmethod
    def load(
        cls,
        dir_path: str | Path,
        adata: AnnData | bool | None = None,
        accelerator: str = "auto",
        device: int | str = "auto",
        prefix: str | None = None,
    ) -> Self:
        """Load a model that :meth:`~scdtl.SCDTL.save` wrote; nothing in the file is run.

        Parameters
        ----------
        dir_path
            Directory with ``model.safetensors``.
        adata
            Data with the genes of training in the same order; they are set up in the same way.
            ``None`` for those that were saved with the model, ``False`` for none.
        accelerator, device
            As in scvi-tools.
        prefix
            Put before the names of the files.

        Returns
        -------
        The model. Of scvi-tools' arguments, ``datamodule``, ``backup_url`` and
        ``allowed_classes_names_list`` are not supported.

        Raises
        ------
        FileNotFoundError
            If there is no file.
        ValueError
            If there is only a pickle, which is never opened; if the file is damaged, or not a
            model of this class; or if ``adata`` has other genes or an unknown batch.
        KeyError
            If ``adata`` lacks the column or the layer of the setup.
        """
        torch_device = device_of(accelerator, device)
        path = _locate(Path(dir_path), prefix)
        with FILE.refusing(path):
            header, tensors = read(path)
            if (name := header["model_name"]) != cls.__name__:
                raise Misfit(f"holds a {name}, not a {cls.__name__}: load it with {name}.load")
        if adata is None:
            adata = _saved_anndata(path.with_name(f"{prefix or ''}{_ANNDATA}"))
        cells = None if isinstance(adata, bool) else _set_up(cls, adata, header)
        with FILE.refusing(path):
            with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and not needed
                model = cls(cells, registry_of(header), **header["parameters"])
            restore(model, header, tensors)
        model.to_device(torch_device)
        model.module.eval()
        if cells is not None:
            forget_anndata(cls, cells)
        return model

    @staticmethod
    def load_registry(dir_path: str | Path, prefix: str | None = None) -> dict:
        """Return the setup of a saved model's data.

        Parameters
        ----------
        dir_path, prefix
            As in :meth:`load`.

        Returns
        -------
        The registry, in scvi-tools' format.
        """
        path = _locate(Path(dir_path), prefix)
        with FILE.refusing(path):
            return registry_of(read(path)[0])

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


def refuse_checkpoints_to_open(callbacks: Iterable[Any] | None) -> None:
    """Refuse scvi-tools' ways back to a checkpoint, which look for a pickle."""
    for callback in callbacks or ():
        if isinstance(callback, SaveCheckpoint) and (
            callback.load_best_on_end or callback.check_nan_gradients
        ):
            raise ValueError(
                "SaveCheckpoint's load_best_on_end and check_nan_gradients open a pickle, which "
                "is never written here. Leave them out: training ends on the best weights anyway."
            )


def _locate(folder: Path, prefix: str | None) -> Path:
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
    raise FileNotFoundError(f"{path} does not exist: no model was saved there.")


def _set_up(cls: Any, adata: AnnData, header: dict[str, Any]) -> AnnData:
    """Set data up as the file says, in an AnnData of their own: the user's stay as they are.

    It has counts and batches; these are names, whatever kind of values the columns hold.
    """
    check_anndata(adata)
    cells = genes_only(adata)
    check_genes(cells, np.asarray(header["genes"]))
    layer, keys = header["setup_args"]["layer"], columns(header["setup_args"])
    check_has(cells, layer, keys.values())
    obs = pd.DataFrame(index=cells.obs_names)
    for field, key in keys.items():
        known = batch_names(header["categories"][field])
        codes = batch_codes(cells.obs[key], key, known)
        obs[key] = pd.Categorical.from_codes(codes, pd.Index(known))
    matrix = cells.X if layer is None else cells.layers[layer]
    matrix = matrix.tocsr() if sparse.issparse(matrix) else matrix
    at = {"X": matrix} if layer is None else {"layers": {layer: matrix}}
    uns = {key: cells.uns[key] for key in (SAMPLE_KEY,) if key in cells.uns}
    own = anndata.AnnData(obs=obs, var=cells.var.copy(), uns=uns, **at)
    cls.setup_anndata(own, **header["setup_args"])
    return own


def _saved_anndata(path: Path) -> AnnData | bool:
    if path.is_file():
        return anndata.read_h5ad(path)
    warnings.warn(
        f"{path} does not exist and no adata was given: the model is loaded without data.",
        UserWarning,
        stacklevel=3,
    )
    return False
