"""Fetching released weights: from the package, the cache or, by pooch, the network."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pooch
import requests

from scdtl._settings import settings
from scdtl.pretrained._registry import find, read_registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scdtl.pretrained._registry import Entry

logger = logging.getLogger(__name__)

RETRIES = 3
TIMEOUT = (10.0, 30.0)  # seconds: to connect, and from one piece of the file to the next
_TRANSIENT = (408, 429)  # statuses below 500 that may pass: timeout, too many requests
_FOLDER = Path(__file__).parent
_TEMPORARY = "tmp????????"  # how pooch calls a file that is not whole


def fetch(name: str) -> Path:
    """Return a local file of released weights, downloaded if it has to be.

    Looks into the package, then into the cache (``scdtl.settings.cache_dir``), and downloads
    what is in neither. Nothing is returned, and nothing downloaded is kept, unless its sha256 is
    that of the registry. A broken transfer is tried again three times, after 1, 2 and 3 seconds;
    it is broken if connecting takes more than 10 seconds, or the next piece of the file more than
    30. A progress bar shows unless ``scdtl.settings.verbosity`` is above ``"warning"``.

    Parameters
    ----------
    name
        A name of :func:`available`.

    Returns
    -------
    Path of the file.

    Raises
    ------
    ValueError
        If there are no weights of that name, or a file's sha256 is wrong: the downloaded one's,
        offline the cached one's, or that of the file in the package.
    FileNotFoundError
        If the weights are not on this machine and ``scdtl.settings.offline`` is set.
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
    entry = find(name)
    try:
        return _local(entry) or _download(entry)
    except requests.RequestException as error:
        raise ConnectionError(_explain(entry, error)) from error
    except ValueError as error:
        raise ValueError(_explain(entry, error)) from error
    except OSError as error:
        raise type(error)(_explain(entry, error)) from error


def clear_cache() -> None:
    """Delete downloaded weights from the cache, and what interrupted downloads left there.

    The release's folder goes too if it is empty then. Other files stay.

    Examples
    --------
    >>> import scdtl
    >>> scdtl.pretrained.clear_cache()
    """
    paths = [cached_path(entry) for entry in read_registry().values()]
    for folder in {path.parent for path in paths}:
        paths += folder.glob(_TEMPORARY)
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        with contextlib.suppress(OSError):  # it does not exist, or other files are in it
            folder.rmdir()


def shipped_path(entry: Entry) -> Path:
    """Where the file is if the package contains it."""
    return _FOLDER / entry.file


def cached_path(entry: Entry) -> Path:
    """Where the file is once it was downloaded; the release has a folder of its own."""
    return settings.cache_dir / entry.version / entry.file


def url(entry: Entry) -> str:
    """Where the file is downloaded from."""
    return f"{(settings.base_url or entry.base_url).rstrip('/')}/{entry.file}"


def _local(entry: Entry) -> Path | None:
    """Return a whole file on this machine, or None if it is to be downloaded."""
    shipped, cached = shipped_path(entry), cached_path(entry)
    if shipped.is_file():
        if _is_whole(shipped, entry):
            return shipped
        raise ValueError(f"{shipped} is not the file of the registry: install scdtl again")
    if cached.is_file():
        if _is_whole(cached, entry):
            return cached
        if settings.offline:
            raise ValueError(f"{cached} is damaged (its sha256 is wrong) and scdtl is offline")
        logger.warning("%s is damaged (its sha256 is wrong): downloading it again", cached)
    elif settings.offline:
        raise FileNotFoundError(f"{cached} does not exist and scdtl is offline")
    return None


def _is_whole(path: Path, entry: Entry) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256


def _download(entry: Entry) -> Path:
    """Let pooch download to a temporary file, check the hash, and move it into place."""
    keeper = pooch.create(
        path=cached_path(entry).parent,
        base_url="",
        registry={entry.file: entry.sha256},
        urls={entry.file: url(entry)},
        retry_if_failed=RETRIES,
    )
    with _quiet_pooch():
        return Path(keeper.fetch(entry.file, downloader=_attempt))


def _attempt(address: str, target: str, keeper: pooch.Pooch) -> None:
    """Download once; pooch calls it again unless it raised what another attempt can't mend."""
    logger.info("downloading %s", address)
    download = pooch.HTTPDownloader(
        progressbar=logger.isEnabledFor(logging.WARNING), chunk_size=2**16, timeout=TIMEOUT
    )
    try:
        download(address, target, keeper)
    except requests.RequestException as error:
        if _is_final(error):
            raise ConnectionError(error) from error
        raise


def _is_final(error: requests.RequestException) -> bool:
    """Whether the server refuses for good, or the address is none."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code < 500 and error.response.status_code not in _TRANSIENT
    return isinstance(error, ValueError)


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


def _explain(entry: Entry, reason: Exception) -> str:
    """Everything that one needs to get the file in another way."""
    return (
        f"Cannot get the weights {entry.name!r}: {str(reason).rstrip('.')}.\n"
        f"File {entry.file}, URL {url(entry)}, sha256 {entry.sha256}, "
        f"folder {cached_path(entry).parent}.\n"
        f'If you have the file, put it into that folder or give its path, bulk="path/to/'
        f'{entry.file}". SCDTL_CACHE_DIR names another folder.'
    )
