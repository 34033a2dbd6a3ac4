"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a file beside `path` to write to, and move it there once it is whole."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Refuse a folder that nothing can be written to."""
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist: make it first.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"folder {folder} may not be written to.")


def replace_folder(new: Path, old: Path) -> None:
    """Move a folder into the place of another one, which is deleted."""
    aside = old.with_name(f".{old.name}.{os.getpid()}.old")
    old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside)


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr store, of version 2 or 3."""
    return (path / ".zgroup").is_file() or (path / "zarr.json").is_file()
