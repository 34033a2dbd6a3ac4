"""Whether a result fits into memory, before any work."""

from __future__ import annotations

import psutil


def check_memory(n_cells: int, n_genes: int, bytes_per_entry: int) -> None:
    """Refuse a layer that is larger than the memory that is left.

    Parameters
    ----------
    n_cells, n_genes
        Its shape.
    bytes_per_entry
        Size of an entry.

    Examples
    --------
    >>> from scdtl.pp._memory import check_memory
    >>> check_memory(10, 25, 4)
    """
    size, left = n_cells * n_genes * bytes_per_entry, psutil.virtual_memory().available
    if size > left:
        raise MemoryError(
            f"The imputed values of {n_cells:,} cells × {n_genes:,} genes take "
            f"{size / 2**30:.1f} GiB, and {left / 2**30:.1f} GiB of memory are left: write them "
            "to a file with out='imputed.zarr', have them computed when they are looked at with "
            "lazy=True, or impute fewer genes with genes=[...]."
        )
