"""Finding released files: on this machine or, by pooch, at an address that was set."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pooch
import requests

from scdtl._settings import settings
from scdtl.pretrained._registry import data_sets, find, read_registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scdtl.pretrained._registry import File

logger = logging.getLogger(__name__)

RETRIES = 3
TIMEOUT = (10.0, 30.0)  # seconds: to connect, and from one piece of the file to the next
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_PACKAGE = Path(__file__).parent
_TEMPORARY = "tmp????????"  # how pooch calls a file that is not whole


def fetch(name: str, *, verbose: bool | None = None) -> Path:
    """Return a local file of released weights.

    Looks in the package; in ``scdtl.settings.base_url`` if that is a folder; in ``weights/`` of
    the repository if scdtl was installed from a copy of it, editable or not; and in the cache
    (``scdtl.settings.cache_dir``). A file found in none of them is downloaded to the cache if
    ``base_url`` is an https address, otherwise it is an error: there is no default address.

    Only a file whose sha256 matches the registry is returned. A failed transfer is retried three
    times, after 1, 2 and 3 seconds; it fails if connecting takes more than 10 seconds, or the next
    chunk of the file more than 30.

    Parameters
    ----------
    name
        A name of :func:`available`.
    verbose
        Show a progress bar; ``None`` shows it unless ``scdtl.settings.verbosity`` is above
        ``"warning"``.

    Returns
    -------
    Path of the file.

    Raises
    ------
    FileNotFoundError
        If the weights are not on this machine, and ``base_url`` is not an address or
        ``scdtl.settings.offline`` is set.
    ValueError
        If there are no weights of that name, ``base_url`` is an address without https, or the
        sha256 of the downloaded file or of that in the package is wrong.
    ConnectionError
        If the download fails.
    OSError
        If the cache can't be read or written.

    Examples
    --------
    >>> import scdtl
    >>> scdtl.pretrained.fetch("human").name
    'human.safetensors'
    """
    return fetch_file(find(name), verbose=verbose)


def fetch_file(file: File, *, verbose: bool | None = None) -> Path:
    """Return a local copy of a released file; the rest is as in :func:`fetch`."""
    if verbose is None:
        verbose = logger.isEnabledFor(logging.WARNING)
    try:
        return _local(file) or _download(file, verbose)
    except requests.RequestException as error:
        raise ConnectionError(_explain(file, error)) from error
    except ValueError as error:
        raise ValueError(_explain(file, error)) from error
    except OSError as error:
        raise type(error)(_explain(file, error)) from error


def clear_cache() -> None:
    """Delete downloaded weights, data sets and leftovers of interrupted downloads from the cache.

    A release's folder is deleted too if it is then empty. Other files stay.

    Examples
    --------
    >>> import scdtl
    >>> scdtl.pretrained.clear_cache()
    """
    files: list[File] = [*read_registry().values(), *data_sets().values()]
    paths = [cached_path(file) for file in files]
    for folder in {path.parent for path in paths}:
        paths += folder.glob(_TEMPORARY)
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        with contextlib.suppress(OSError):  # it does not exist, or other files are in it
            folder.rmdir()


def places(file: File) -> list[Path]:
    """Where on this machine the file may be, in the order in which it is looked for."""
    folders = [_PACKAGE, _folder(settings.base_url), _checkout(), cached_path(file).parent]
    return [folder / file.file for folder in folders if folder is not None]


def cached_path(file: File) -> Path:
    """Where the file is once it was downloaded; the release has a folder of its own."""
    return settings.cache_dir / file.version / file.file


def url(file: File) -> str | None:
    """Where the file is downloaded from, None if no address is known."""
    address = settings.base_url or file.base_url
    if address is None or _folder(address) is not None:
        return None
    return f"{address.rstrip('/')}/{file.file}"


def _folder(address: str | None) -> Path | None:
    """Folder that a plain path or a file:// address names, None for any other address."""
    if address is None:
        return None
    if address.startswith("file://"):
        return Path(url2pathname(urlsplit(address).path))
    return None if "://" in address else Path(address).expanduser().absolute()


def _checkout() -> Path | None:
    """``weights/`` of the repository that scdtl was installed from, None if from elsewhere."""
    # Installers leave a note of where a package came from (PEP 610).
    origin = json.loads(distribution("scdtl").read_text("direct_url.json") or "{}")
    folder = _folder(origin["url"]) if "dir_info" in origin else None
    return None if folder is None else folder / "weights"


def _local(file: File) -> Path | None:
    """Return the first whole file on this machine, or None if there is none."""
    for path in places(file):
        if os.path.isfile(path):  # False, too, where we may not look
            if _is_whole(path, file):
                return path
            if path.parent == _PACKAGE:
                raise ValueError(f"{path} does not match the registry: reinstall scdtl")
            logger.warning("%s is not used: its sha256 does not match the registry", path)
    return None


def _is_whole(path: Path, file: File) -> bool:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def _download(file: File, verbose: bool) -> Path:
    """Let pooch download to a temporary file, check the hash, and move it into place."""
    address = url(file)
    if address is None or settings.offline:
        offline = "" if address is None else ", and scdtl is offline"
        raise FileNotFoundError(f"no {file.file} with the registry's sha256 was found{offline}")
    parts = urlsplit(address)
    if parts.scheme != "https" and parts.hostname not in _THIS_MACHINE:
        raise ValueError(f"{address} is neither an https address nor a folder")
    keeper = pooch.create(
        path=cached_path(file).parent,
        base_url="",
        registry={file.file: file.sha256},
        urls={file.file: address},
        retry_if_failed=RETRIES,
    )
    downloader = pooch.HTTPDownloader(progressbar=verbose, chunk_size=2**16, timeout=TIMEOUT)
    logger.info("downloading %s", address)
    with _quiet_pooch():
        return Path(keeper.fetch(file.file, downloader=downloader))


@contextlib.contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Keep pooch from printing what we say ourselves, where and if the application wants it."""
    theirs = pooch.get_logger()
    level = theirs.level
    theirs.setLevel(logging.WARNING)
    try:
        yield
    finally:
        theirs.setLevel(level)


def _explain(file: File, reason: Exception) -> str:
    """Three lines: what is wrong, where the file was looked for, and the way out."""
    *folders, cached = map(str, places(file))
    looked = filter(None, [*folders, f"{cached} (SCDTL_CACHE_DIR)", url(file)])
    return (
        f"{file.missing} {file.name!r}: {str(reason).rstrip('.')}.\n"
        f"Looked for {', '.join(looked)}.\n"
        f"Set SCDTL_BASE_URL to a folder or https address that holds {file.file}, {file.origin}."
    )
