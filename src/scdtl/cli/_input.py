"""What commands read: their common arguments, and files, checked before any work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData


def add_data(add: Callable[..., Any]) -> None:
    """Add the arguments of all commands that work on counts: what to read, and where to start.

    Parameters
    ----------
    add
        The ``add_argument`` of a command's parser.
    """
    add("input", type=Path, metavar="IN.h5ad", help="AnnData with raw counts")
    add("--layer", help="layer with the raw counts (default: X)")
    add(
        "--bulk",
        default="human",
        metavar="NAME|FILE|none",
        help="released weights, a weights file, an .h5ad file of bulk counts, or none "
        "(default: %(default)s)",
    )
    add("--batch-key", help="column of obs that names the batches")
    add("--random-state", type=int, default=0, metavar="SEED", help="default: %(default)s")


def read_h5ad(path: Path, *, backed: bool = False) -> AnnData:
    """Read an .h5ad file, or say why it is none.

    Parameters
    ----------
    path
        The file.
    backed
        Leave the counts in the file.
    """
    _check_is_file(path)

    import anndata
    import h5py

    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is not an .h5ad file (not even HDF5): write one with anndata")
    with h5py.File(path) as file:
        if not {"obs", "var"} <= file.keys():
            raise ValueError(
                f"{path} is HDF5 but not an AnnData: read it in Python (10x files with "
                "scanpy.read_10x_h5) and write it with adata.write_h5ad()"
            )
    return anndata.read_h5ad(path, backed="r" if backed else None)


def read_genes(path: Path) -> list[str]:
    """Read names of genes.

    Parameters
    ----------
    path
        Text file with one name a line.
    """
    _check_is_file(path)
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def read_bulk(text: str) -> str | AnnData | None:
    """Make of ``--bulk`` what functions take: weights by name or file, an AnnData, or nothing.

    Parameters
    ----------
    text
        What was given.
    """
    if text.lower() == "none":
        return None
    return read_h5ad(Path(text)) if text.endswith(".h5ad") else text


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file")
