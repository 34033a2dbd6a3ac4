"""What weights there are, as a table and one by one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from scdtl.pretrained._fetch import cached_path, shipped_path, url
from scdtl.pretrained._registry import find, read_registry

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = (
    "species",
    "studies",
    "samples",
    "genes",
    "size_mb",
    "licence",
    "sha256",
    "shipped",
    "cached",
    "description",
)


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
        Whether the package contains the file, so that it is never downloaded.
    ``cached``
        Whether the cache has a file of that name and size.
    ``description``
        Which samples these were.

    Examples
    --------
    >>> import scdtl
    >>> scdtl.pretrained.available().loc["human", ["species", "shipped"]].to_dict()
    {'species': 'human', 'shipped': True}
    """
    import pandas as pd

    table = pd.DataFrame([info(name) for name in read_registry()]).set_index("name")
    table["size_mb"] = (table["bytes"] / 1e6).round(1)
    return table[list(_COLUMNS)]


def info(name: str) -> dict[str, Any]:
    """Tell all that is known of released weights without reading them.

    Parameters
    ----------
    name
        A name of :func:`available`.

    Returns
    -------
    As in :func:`available`, and ``version`` of the release, ``n_hidden`` and ``n_latent`` of the
    network, ``trained`` (when and with what), ``file``, ``bytes``, ``url`` to download from, and
    ``path`` of the file, where it is or where :func:`fetch` will put it.

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
    shipped, cached = shipped_path(entry), cached_path(entry)
    facts = asdict(entry)
    del facts["base_url"]  # url has it, or the mirror's
    return facts | {
        "url": url(entry),
        "path": str(shipped if shipped.is_file() else cached),
        "shipped": shipped.is_file(),
        "cached": cached.is_file() and cached.stat().st_size == entry.bytes,
    }
