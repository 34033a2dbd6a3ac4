"""Input of the commands: common arguments, and files, checked before any work."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scdtl._files import is_zarr

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from anndata import AnnData


_OF_THE_COMMAND = "run input modality backed output html csv overwrite quiet".split()


def add_data(add: Callable[..., Any]) -> None:
    """Add the arguments of all commands that work on counts: what to read, and where to start."""
    add("input", type=Path, metavar="IN", help="raw counts: an .h5ad, .h5mu or .zarr file")
    add("--modality", metavar="NAME", help="modality of an .h5mu file, such as rna")
    add("--layer", help="layer with the raw counts (default: X)")
    add(
        "--noise",
        default="auto",
        metavar="MODEL",
        help="kind of counts: umi, reads (also TPM), or auto to decide by their values "
        "(default: %(default)s)",
    )
    add(
        "--bulk",
        default="human",
        metavar="NAME|FILE|auto|none",
        help="released weights, a weights file, an .h5ad or .zarr file of bulk counts, auto for "
        "the released weights that predict the cells best, or none (default: %(default)s)",
    )
    add("--batch-key", help="column of obs that names the batches")
    add("--random-state", type=int, default=0, metavar="SEED", help="default: %(default)s")


def read_data(path: Path, *, backed: bool = False, modality: str | None = None) -> AnnData:
    """Read an .h5ad or .h5mu file or a zarr store of either; an error says why not."""
    import anndata
    import h5py
    from anndata.experimental import read_lazy

    if path.is_dir():
        root = _zarr_group(path)
    elif not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    elif h5py.is_hdf5(path):
        root = h5py.File(path)
    else:
        raise ValueError(
            f"{path} is not an .h5ad file (not even HDF5): decompress it if it ends in .gz, else "
            "read it in Python, as with scanpy.read_csv, and write it with adata.write_h5ad()"
        )
    place = _place(root, path, modality)
    if path.is_file() and not place:
        root.close()
        return anndata.read_h5ad(path, backed="r" if backed else None)
    group = root[place] if place else root
    return read_lazy(group) if backed else anndata.io.read_elem(group)


def _zarr_group(path: Path) -> Any:
    if not is_zarr(path):
        raise ValueError(
            f"{path} is a folder, but not a zarr store: read it in Python (10x folders with "
            "scanpy.read_10x_mtx) and write it with adata.write_h5ad()"
        )
    from scdtl.pp._store import require

    require("zarr")
    import zarr

    return zarr.open_group(str(path), mode="r")


def _place(root: Any, path: Path, modality: str | None) -> str:
    """Where in a file the AnnData is; empty for the file itself."""
    modalities = list(root["mod"]) if "mod" in root else []
    if modality in modalities:
        return f"mod/{modality}"
    if modalities:
        raise ValueError(
            f"{path} holds several modalities: choose the RNA counts with --modality, which is "
            f"one of: {', '.join(modalities)}"
        )
    if modality is not None:
        raise ValueError(f"{path} has no modalities: leave --modality out")
    if {"obs", "var"} <= set(root):
        return ""
    if path.is_dir():
        raise ValueError(
            f"{path} is a zarr store but not an AnnData: give the path of the AnnData "
            f"inside it, such as {path / 'tables' / 'table'} of a SpatialData"
        )
    raise ValueError(
        f"{path} is HDF5 but not an AnnData: read it in Python (10x files with "
        "scanpy.read_10x_h5, .loom files with scanpy.read_loom) and write it with "
        "adata.write_h5ad()"
    )


def read_genes(path: Path) -> list[str]:
    """Names of genes, one per line, in UTF-8 or in what Excel calls Unicode text."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file")
    content = path.read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not plain text in UTF-8: save the list as such") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def arguments_of(options: argparse.Namespace) -> dict[str, Any]:
    """What the Python function takes by the same names: all but what the command itself needs."""
    return {name: value for name, value in vars(options).items() if name not in _OF_THE_COMMAND}


def read_bulk(text: str) -> str | AnnData | None:
    """Make of ``--bulk`` what functions take: weights by name or file, an AnnData, or nothing."""
    if text.lower() == "none":
        return None
    return read_data(Path(text)) if text.endswith((".h5ad", ".zarr")) else text
