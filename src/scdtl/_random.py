"""Random states that a call sets and restores."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

# torch's and NumPy's states belong to the process: threads take turns with them.
_BORROWED = threading.RLock()


def next_seed() -> int:
    """Draw the seed of a model from torch's random state."""
    return int(torch.randint(2**31, (1,), device="cpu"))


@contextmanager
def local_seed(seed: int) -> Iterator[None]:
    """Seed torch for the body, and leave the caller's torch and NumPy states as they were."""
    with _BORROWED, torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        numpy_state = np.random.get_state()  # noqa: NPY002 - libraries below may draw from it
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
