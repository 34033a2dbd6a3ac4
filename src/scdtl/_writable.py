"""Checks before the work whether an AnnData can be written."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """Refuse what an .h5ad file or a zarr store can't keep.

    All but most rows of the matrices is tried. Columns ``_index`` that repeat the names are
    dropped: files converted from Seurat have them, and anndata can't write that name.
    """
    from anndata.io import write_elem

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
            try:
                write_elem(group, slot, value)
            except Exception as error:  # anndata, h5py and zarr raise many kinds
                if isinstance(error, MemoryError) or getattr(error, "errno", None):  # full disk
                    raise
                # anndata names the key in a note.
                why = ". ".join([str(error), *getattr(error, "__notes__", [])])
                raise ValueError(
                    f"adata.{slot} can't be written to a file ({why}): change or delete that."
                ) from error


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
