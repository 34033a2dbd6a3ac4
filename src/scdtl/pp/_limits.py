"""Checks before any work whether the results fit into memory."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from scdtl.pp._store import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")

_ELSEWHERE = (
    "write them to a file with out='imputed.zarr', compute them on access with lazy=True, or "
)


def check_place(
    shape: tuple[int, int],
    genes: Sequence[str] | None,
    n_dense: int,
    in_memory: bool,
    is_backed: bool,
    copy: bool,
    out: str | PathLike[str] | None,
    lazy: bool,
) -> None:
    """Refuse results that do not fit; `n_dense` layers store a value for each gene."""
    if copy and is_backed:
        raise ValueError("copy=True can't copy a file: leave it out, the file is not changed.")
    if out is not None and lazy:
        raise ValueError("out= writes the results and lazy=True does not: choose one of them.")
    if out is not None or lazy:
        require("dask.array", "zarr")
        return
    if not in_memory:
        raise ValueError(
            "The counts of adata are not in memory, and the results may not fit either: pass "
            "out='imputed.zarr' to write them to a file, or lazy=True to compute them on access. "
            "If everything does fit, load it first: adata = adata.to_memory()."
        )
    # Of chosen genes the layer has an index beside each value.
    n_columns, n_bytes = (shape[1], 4) if genes is None else (len(genes), 8)
    check_memory(shape[0], n_columns, n_bytes * n_dense, _ELSEWHERE)


def check_memory(n_cells: int, n_genes: int, bytes_per_entry: int, advice: str = "") -> None:
    """Refuse values that are larger than the available memory."""
    size, left = n_cells * n_genes * bytes_per_entry, memory_left()
    if size > left:
        raise MemoryError(
            f"The imputed values of {n_cells:,} cells × {n_genes:,} genes take "
            f"{size / 2**30:.1f} GiB, but only {left / 2**30:.1f} GiB of memory are available: "
            f"{advice}impute fewer genes with genes=[...]."
        )


def memory_left() -> int:
    """Bytes that the machine, the container and the SLURM job have left for this process."""
    left = [psutil.virtual_memory().available, *_left_in_cgroups()]
    if job := _slurm_limit():
        left.append(job - psutil.Process().memory_info().rss)
    return max(0, min(left))


def _left_in_cgroups() -> Iterator[int]:
    """What each control group that this process is in, and each around it, has left."""
    with contextlib.suppress(OSError):  # not Linux
        for line in _OWN_CGROUPS.read_text().splitlines():
            _, controllers, own = line.split(":", 2)
            if controllers == "":
                root, limit, used = _CGROUPS, "memory.max", "anon"
            elif "memory" in controllers.split(","):  # version 1
                root, limit, used = _CGROUPS / "memory", "memory.limit_in_bytes", "total_rss"
            else:
                continue
            folder = root / own.lstrip("/")
            for group in [folder, *folder.parents]:
                # Not set, "max", or seen from inside a container, where the path differs.
                with contextlib.suppress(OSError, ValueError, KeyError):
                    # Pages of files that were read count as used, but are given back on demand.
                    lines = (group / "memory.stat").read_text().splitlines()
                    yield int((group / limit).read_text()) - int(dict(map(str.split, lines))[used])


def _slurm_limit() -> int:
    """Bytes that the SLURM job was given on this node; 0 without a job or a limit."""
    per_node, per_cpu, n_cpus = (
        int(text) if (text := os.environ.get(f"SLURM_{name}", "")).isdigit() else 0
        for name in ("MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE")
    )
    return (per_node or per_cpu * n_cpus) << 20
