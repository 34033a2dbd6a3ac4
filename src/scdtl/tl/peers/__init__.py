"""Methods that evaluate(), the command line and the benchmarks compare, each in a file of its own.

A peer is a file `_name.py` here with an entry `PEER`, and its name below. Importing this file
imports none of them, so that the command line's help need not wait.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scdtl.tl.peers._peer import Peer

NAMES = (
    "observed",
    "mean profile",
    "scdtl",
    "knn smoothing",
    "alra",
    "magic",
    "magic on logs",
    "cellmapper",
    "scvi",
)
"""In the order in which they run; each is the name of a file, with blanks for underscores."""


def load(name: str) -> Peer:
    """Return a peer by its name."""
    return import_module(f"{__name__}._{name.replace(' ', '_')}").PEER
