"""Output of the commands, checked before any work."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from scdtl._files import check_folder, is_zarr

if TYPE_CHECKING:
    import argparse


def output_file(path: Path, *suffixes: str, options: argparse.Namespace) -> Path:
    """Absolute path to write to, after checking that it can be written."""
    if path.suffix not in suffixes:
        raise ValueError(f"output {path}: the name must end in {' or '.join(suffixes)}")
    check_folder(path.parent)
    if path.exists():
        _check_may_be_replaced(path, options)
    return path.resolve()


def _check_may_be_replaced(path: Path, options: argparse.Namespace) -> None:
    for source in (options.input, options.bulk, getattr(options, "genes", None)):
        if source is None or not Path(source).exists():
            continue
        if path.samefile(source) or path.resolve() in Path(source).resolve().parents:
            raise ValueError(f"output {path} is also the input: choose another output")
    if path.is_dir() != (path.suffix == ".zarr"):
        kind = "folder: name a file" if path.is_dir() else "file: name a zarr store"
        raise IsADirectoryError(f"output {path} is a {kind}")
    if path.is_dir() and not is_zarr(path):
        raise ValueError(f"output {path} is a folder, but not a zarr store: choose another output")
    if not options.overwrite:
        raise FileExistsError(
            f"output {path} exists: choose another one, or add --overwrite to replace it"
        )


def check_space(path: Path, n_bytes: int) -> None:
    """Refuse output that does not fit on the disk before any work: HDF5 crashes on a full disk."""
    free = shutil.disk_usage(path.parent).free
    if n_bytes > free:
        raise OSError(
            f"no space left for {path}: it takes {n_bytes / 2**20:,.0f} MiB, and "
            f"{free / 2**20:,.0f} MiB are free. Write to another disk, or fewer --genes"
        )
