"""Fetching released weights: from the package, the cache or, by pooch, the network."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

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
# GitHub keeps the files of a release on hosts of its own, and redirects to them.
_STORAGE = {"github.com": ".githubusercontent.com"}
_TRANSIENT = (408, 429)  # statuses below 500 that may pass: timeout, too many requests
_FOLDER = Path(__file__).parent
_TEMPORARY = "tmp????????"  # how pooch calls a file that is not whole


def fetch(name: str, *, verbose: bool | None = None) -> Path:
    """Return a local file of released weights, downloaded if it has to be.

    Looks into the package, then into the cache (``scdtl.settings.cache_dir``), and downloads
    what is in neither. Nothing is returned, and nothing downloaded is kept, unless its sha256 is
    that of the registry. A broken transfer is tried again three times, after 1, 2 and 3 seconds;
    it is broken if connecting takes more than 10 seconds, or the next piece of the file more than
    30. A server that sends us to another host is not followed (but GitHub to its file storage),
    and no more is taken from it than the size in the registry.

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
    if verbose is None:
        verbose = logger.isEnabledFor(logging.WARNING)
    try:
        return _local(entry) or _download(entry, verbose)
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


def _download(entry: Entry, verbose: bool) -> Path:
    """Let pooch download to a temporary file, check the hash, and move it into place."""
    keeper = pooch.create(
        path=cached_path(entry).parent,
        base_url="",
        registry={entry.file: entry.sha256},
        urls={entry.file: url(entry)},
        retry_if_failed=RETRIES,
    )
    attempt = partial(_attempt, n_bytes=entry.bytes, verbose=verbose)
    with _quiet_pooch():
        return Path(keeper.fetch(entry.file, downloader=attempt))


def _attempt(
    address: str, target: str, keeper: pooch.Pooch, *, n_bytes: int, verbose: bool
) -> None:
    """Download once; pooch calls it again unless it raised what another attempt can't mend."""
    logger.info("downloading %s", address)
    download = pooch.HTTPDownloader(
        progressbar=verbose,
        chunk_size=2**16,
        timeout=TIMEOUT,
        hooks={"response": _stay_at_host},
    )
    try:
        with _Bounded(target, n_bytes) as file:
            download(address, file, keeper)
    except requests.RequestException as error:
        if _is_final(error):
            raise ConnectionError(error) from error
        raise


class _Refused(requests.RequestException, ValueError):
    """What a server does and we do not go along with; requests' own final errors look like it."""


class _Bounded:
    """A file to write to that refuses more than it is meant to hold."""

    def __init__(self, path: str, n_bytes: int) -> None:
        self.file = open(path, "wb")
        self.n_bytes = n_bytes

    def write(self, piece: bytes) -> None:
        if self.file.tell() + len(piece) > self.n_bytes:
            raise _Refused(f"the server sends more than the {self.n_bytes} bytes of the registry")
        self.file.write(piece)

    def flush(self) -> None:
        self.file.flush()

    def __enter__(self) -> _Bounded:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()


def _stay_at_host(response: requests.Response, **options: object) -> None:
    """Refuse a redirect to another host before it is followed; requests calls it."""
    if response.is_redirect and not _may_follow(response.url, response.headers["location"]):
        response.close()
        raise _Refused(
            f"{response.url} sends us on to {response.headers['location']}, which is refused: set "
            "scdtl.settings.base_url (SCDTL_BASE_URL) if you trust that server"
        )


def _may_follow(address: str, location: str) -> bool:
    """Whether a redirect stays at the host, or at the storage of the release's, and as safe."""
    try:
        # As requests will read it: what it takes for another host shall be one here too.
        target = requests.Request("GET", urljoin(address, location)).prepare().url or ""
        here, there = urlsplit(address), urlsplit(target)
    except ValueError:
        return False
    at_storage = here.hostname in _STORAGE and (there.hostname or "").endswith(
        _STORAGE[here.hostname]
    )
    same_host = there.hostname == here.hostname
    return (same_host or at_storage) and there.scheme in ("https", here.scheme)


def _is_final(error: requests.RequestException) -> bool:
    """Whether the server refuses for good, or the address is none."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code < 500 and error.response.status_code not in _TRANSIENT
    return isinstance(error, ValueError | requests.TooManyRedirects)


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
