"""Work on all cells block by block: here, or on the workers of a dask cluster."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import dask.array

_BLOCKS_PER_THREAD = 4


def each_block(
    counts: dask.array.Array,
    work: Callable[..., Any],
    shared: Any,
    arguments: Callable[[slice], tuple],
    *,
    n_done: int = 0,
    verbose: bool = False,
) -> Iterator[tuple[int, list[Any]]]:
    """Call a function on each block of cells; yield how many blocks are done, and its results.

    With a ``dask.distributed`` client several blocks are worked on at a time, by its workers.
    Without one they are worked on one after the other: torch has threads of its own.

    Parameters
    ----------
    counts
        Blocks of cells.
    work
        Gets ``shared``, the block's counts and its own arguments.
    shared
        What all blocks need; it travels to each worker once.
    arguments
        Arguments of the block with these rows.
    n_done
        Blocks that were worked on before.
    verbose
        Show a progress bar.
    """
    import dask

    blocks = counts.to_delayed().ravel()
    ends = np.cumsum(counts.chunks[0]).tolist()
    starts = [0, *ends[:-1]]
    client = _client()
    at_once = 1
    if client is not None:
        at_once = _BLOCKS_PER_THREAD * max(1, sum(client.nthreads().values()))
        shared = client.scatter(shared, broadcast=True, hash=False)
    call = dask.delayed(work, pure=False)
    with tqdm(
        total=len(blocks), initial=n_done, desc="Imputing", unit="block", disable=not verbose
    ) as bar:
        for first in range(n_done, len(blocks), at_once):
            part = range(first, min(first + at_once, len(blocks)))
            tasks = [call(shared, blocks[i], *arguments(slice(starts[i], ends[i]))) for i in part]
            if client is None:
                results = dask.compute(*tasks, scheduler="synchronous")
            else:
                results = client.gather(client.compute(tasks))
            yield part.stop, list(results)
            bar.update(len(part))


def _client() -> Any:
    """The active client of ``dask.distributed``, if there is one."""
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        return default_client()
    except ValueError:
        return None
