"""Where commands write, checked before any work."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def output_file(path: Path, *suffixes: str) -> Path:
    """Where to write, after a check that this will be possible once the work is done.

    Parameters
    ----------
    path
        What the user named.
    *suffixes
        Endings that it may have.

    Returns
    -------
    The absolute path.
    """
    if path.suffix not in suffixes:
        raise ValueError(f"output {path}: the name must end in {' or '.join(suffixes)}")
    if path.is_dir() and path.suffix != ".zarr":  # which is a folder, and not to be overwritten
        raise IsADirectoryError(f"output {path} is a folder: name a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"output folder {path.parent} does not exist: make it first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"output folder {path.parent} may not be written to")
    return path.resolve()


def check_space(path: Path, n_bytes: int) -> None:
    """Refuse what a disk does not hold, before any work: on a full one HDF5 crashes.

    Parameters
    ----------
    path
        File to write.
    n_bytes
        Size of its largest part.
    """
    free = shutil.disk_usage(path.parent).free
    if n_bytes > free:
        raise OSError(
            f"no space left for {path}: the layer alone takes {n_bytes / 2**20:,.0f} MiB, and "
            f"{free / 2**20:,.0f} MiB are free. Write to another disk, or fewer --genes"
        )
