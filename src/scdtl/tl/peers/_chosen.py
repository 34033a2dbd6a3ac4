"""Which peers evaluate() runs: by name, as the user's functions, or all that are installed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scdtl.tl.peers import NAMES, load
from scdtl.tl.peers._peer import Options, Peer

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

    from scdtl.data._noise_of import NoiseName
    from scdtl.tl.peers._peer import Rates


def chosen(names: Any, noise: NoiseName = "umi") -> dict[str, Peer]:
    """Peers by name, in the order asked for; ``None`` is for the default ones installed."""
    if names is None:
        known = {name: load(name) for name in NAMES}
        return {
            name: peer
            for name, peer in known.items()
            if noise in peer.default_for and peer.is_installed
        }
    if isinstance(names, str) or callable(names):
        names = [names]
    if not isinstance(names, Iterable):
        raise TypeError(f"methods must be a list of names and functions, not {names!r}.")
    peers: dict[str, Peer] = {}
    for item in names:
        name, peer = _own(item) if callable(item) else (item, _named(item))
        if name in peers or (callable(item) and name in NAMES):
            raise ValueError(f"more than one method is called {name!r}: give each its own name.")
        peers[name] = peer
    if not peers:
        raise ValueError(f"methods is empty; the known ones are: {', '.join(NAMES)}.")
    return peers


def _named(name: str) -> Peer:
    if name not in NAMES:
        raise ValueError(f"unknown method {name!r}; the known ones are: {', '.join(NAMES)}.")
    peer = load(name)
    if not peer.is_installed:
        raise ImportError(
            f"method {name!r} needs the package {peer.package}: pip install {peer.package}"
        )
    return peer


def _own(function: Callable[[AnnData], Any]) -> tuple[str, Peer]:
    """A method of the user's, called by the function's name."""

    def run(cells: AnnData, options: Options) -> Rates:
        rates = function(cells)
        return sparse.csr_matrix(rates) if sparse.issparse(rates) else np.asarray(rates)

    return getattr(function, "__name__", type(function).__name__), Peer(run)
