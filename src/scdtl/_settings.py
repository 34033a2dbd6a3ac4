"""Settings of the package for the whole session."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("scdtl")

_NO = ("", "0", "false", "no", "off")


class Settings:
    """Settings for the whole session; use the instance ``scdtl.settings``.

    ``cache_dir``, ``base_url`` and ``offline`` have an environment variable each, which is read
    whenever the setting is. Assigning to the setting takes precedence; assigning ``None`` undoes
    that.

    Examples
    --------
    >>> import scdtl
    >>> scdtl.settings.verbosity = "warning"
    """

    def __init__(self) -> None:
        self._cache_dir: str | os.PathLike[str] | None = None
        self._base_url: str | None = None
        self._offline: bool | None = None

    @property
    def verbosity(self) -> int:
        """Level of the logger ``"scdtl"``, as a number of :mod:`logging` or its name.

        The default, ``"info"``, summarises each imputation in one line. Messages go to stderr, or
        to the handlers of the application where it has configured :mod:`logging`.
        """
        return logger.getEffectiveLevel()

    @verbosity.setter
    def verbosity(self, level: int | str) -> None:
        logger.setLevel(level.upper() if isinstance(level, str) else level)

    @property
    def cache_dir(self) -> Path:
        """Folder of downloads; ``SCDTL_CACHE_DIR``, or the system's folder for caches."""
        import pooch

        folder = self._cache_dir or os.environ.get("SCDTL_CACHE_DIR") or pooch.os_cache("scdtl")
        return Path(folder).expanduser().absolute()

    @cache_dir.setter
    def cache_dir(self, folder: str | os.PathLike[str] | None) -> None:
        self._cache_dir = folder

    @property
    def base_url(self) -> str | None:
        """Location of weights and data that neither the package nor a copy of the repository has.

        A folder, as a path or a ``file://`` address, or an https address to download from.
        ``SCDTL_BASE_URL``, or ``None`` for nowhere.
        """
        return self._base_url or os.environ.get("SCDTL_BASE_URL") or None

    @base_url.setter
    def base_url(self, address: str | os.PathLike[str] | None) -> None:
        self._base_url = os.fspath(address) if address else None

    @property
    def offline(self) -> bool:
        """Whether downloads are forbidden; ``SCDTL_OFFLINE``, in which 0, no and off mean no."""
        if self._offline is not None:
            return self._offline
        return os.environ.get("SCDTL_OFFLINE", "").lower() not in _NO

    @offline.setter
    def offline(self, offline: bool | None) -> None:
        self._offline = offline

    def __repr__(self) -> str:
        return (
            f"Settings(verbosity={logging.getLevelName(self.verbosity)!r}, "
            f"cache_dir={str(self.cache_dir)!r}, base_url={self.base_url!r}, "
            f"offline={self.offline!r})"
        )


class _ToStderr(logging.Handler):
    """Prints messages that no other handler takes."""

    def emit(self, record: logging.LogRecord) -> None:
        if logging.root.handlers or logger.handlers != [self]:
            return
        print(f"scdtl: {self.format(record)}", file=sys.stderr)


@contextmanager
def only_warnings() -> Iterator[None]:
    """Hide informational messages while one call makes many others, unless debugging."""
    level = logger.level
    if level == logging.INFO:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


logger.setLevel(logging.INFO)
logger.addHandler(_ToStderr())

settings = Settings()
