"""Checks before the work whether an AnnData can be written."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from anndata import AnnData

logger = logging.getLogger("scdtl")


def nullable_strings() -> AbstractContextManager[Any]:
    """Let anndata write nullable strings, which all supported versions can read."""
    from anndata import settings

    return settings.override(allow_write_nullable_strings=True)


def make_writable(adata: AnnData, path: Path) -> None:
    """Refuse what an .h5ad file or a zarr store can't keep, by its name.

    All but most rows of the matrices is tried. Columns ``_index`` that repeat the names are
    dropped: files converted from Seurat have them, and anndata can't write that name.
    """
    tables = {"obs": adata.obs, "var": adata.var}
    if adata.raw is not None:
        tables["raw.var"] = adata.raw.var
    for slot, table in tables.items():
        if "_index" in table and (table["_index"].astype(str) == table.index).all():
            table.drop(columns="_index", inplace=True)
            logger.info("adata.%s['_index'] repeats the names and is left out.", slot)
        adata.strings_to_categoricals(table)  # as anndata does before it writes
    with nullable_strings(), _trial(path) as group:
        for slot, value in _slots(adata):
            error = _error(group, value)
            if error is not None:
                _refuse(group, f"adata.{slot}", value, error)


@contextmanager
def _trial(path: Path) -> Iterator[Any]:
    """A temporary file or store next to `path`."""
    import h5py

    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        if path.suffix == ".h5ad":
            with h5py.File(Path(folder, "trial.h5ad"), "w") as file:
                yield file
        else:
            import zarr

            yield zarr.open_group(str(Path(folder, "trial.zarr")), mode="w", zarr_format=2)


def _slots(adata: AnnData) -> Iterator[tuple[str, Any]]:
    names = ["X", "layers", "obs", "var", "uns", "obsm", "varm", "obsp", "varp"]
    for name in names + (["raw.X", "raw.var", "raw.varm"] if adata.raw is not None else []):
        value = attrgetter(name)(adata)
        if name == "uns":
            yield name, dict(value)
        elif isinstance(value, Mapping):  # since anndata 0.13, None is a key of layers, for X
            yield name, {key: _first_row(x) for key, x in value.items() if key is not None}
        elif value is not None:
            yield name, _first_row(value)


def _first_row(array: Any) -> Any:
    """Enough to check whether it can be written: everything that may mix types."""
    if isinstance(array, pd.DataFrame) or getattr(array, "dtype", "") == "O":
        return array
    return array[:1] if hasattr(array, "__getitem__") else array


def _error(group: Any, value: Any) -> Exception | None:
    from anndata.io import write_elem

    try:
        write_elem(group, "value", value)
    except Exception as error:  # anndata, h5py and zarr raise many kinds
        if isinstance(error, MemoryError) or getattr(error, "errno", None):  # as of a full disk
            raise
        return error
    return None


def _refuse(group: Any, slot: str, value: Any, error: Exception) -> NoReturn:
    """Raise an error that names the innermost part that can't be written."""
    for key, alone, part in _parts(value):
        reason = _error(group, alone)
        if reason is not None:
            _refuse(group, f"{slot}[{key!r}]", part, reason)
    advice = "change it"
    if slot.endswith("]"):
        advice = f"change it, or delete it with del {slot}"
    if isinstance(value, pd.Series) and _error(group, value.astype(str).to_frame()) is None:
        advice = f"make it text with {slot} = {slot}.astype(str), or delete it with del {slot}"
    raise ValueError(f"{slot} can't be written to a file ({error}): {advice}.") from error


def _parts(value: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Key, the part with its key, and the part itself."""
    if isinstance(value, pd.DataFrame):
        for i, key in enumerate(value):
            column = value.iloc[:, i].reset_index(drop=True)
            yield key, column.to_frame(), column
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield key, {key: part}, part
