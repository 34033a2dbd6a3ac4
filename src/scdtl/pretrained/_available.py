"""The available weights, as a table and one by one."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from scdtl.pretrained._fetch import places, url
from scdtl.pretrained._registry import find, read_registry

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

_COLUMNS = "species studies samples genes size_mb licence sha256 shipped local description".split()


def available() -> pd.DataFrame:
    """List the released weights.

    Returns
    -------
    One row per weights, the index their names. Columns:

    ``species``
        Species of the bulk samples.
    ``studies``, ``samples``, ``genes``
        Numbers of each.
    ``size_mb``
        Size of the file in megabytes (10⁶ bytes).
    ``licence``
        Licence of the weights.
    ``sha256``
        Hash of the file.
    ``shipped``
        Whether the package contains the file.
    ``local``
        Whether a file of that name and size is on this machine, where :func:`fetch` looks.
    ``description``
        What the samples are.

    Examples
    --------
    >>> import scdtl
    >>> scdtl.pretrained.available().loc["human", ["species", "shipped"]].to_dict()
    {'species': 'human', 'shipped': True}
    """
    import pandas as pd

    table = pd.DataFrame([info(name) for name in read_registry()]).set_index("name")
    table["size_mb"] = (table["bytes"] / 1e6).round(1)
    return table[_COLUMNS]


def info(name: str) -> dict[str, Any]:
    """Describe released weights without reading them.

    Parameters
    ----------
    name
        A name of :func:`available`.

    Returns
    -------
    As in :func:`available`, and ``version`` of the release, ``n_hidden`` and ``n_latent`` of the
    network, ``trained`` (when and with what), ``file``, ``bytes``, ``path`` of the file (``None``
    if it is not on this machine) and ``url`` to download it from (``None`` if no address is set).

    Raises
    ------
    ValueError
        If there are no weights of that name.

    Examples
    --------
    >>> import scdtl
    >>> scdtl.pretrained.info("human")["file"]
    'human.safetensors'
    """
    entry = find(name)
    facts = asdict(entry)
    del facts["base_url"]  # url has it, or that of the settings
    path = next((path for path in places(entry) if _has_size(path, entry.bytes)), None)
    return facts | {
        "url": url(entry),
        "path": None if path is None else str(path),
        "shipped": os.path.isfile(places(entry)[0]),
        "local": path is not None,
    }


def _has_size(path: Path, n_bytes: int) -> bool:
    return os.path.isfile(path) and path.stat().st_size == n_bytes
