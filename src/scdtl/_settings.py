"""Settings of the package that hold for the whole session."""

from __future__ import annotations

import logging

logger = logging.getLogger("scdtl")
logger.addHandler(logging.NullHandler())


class Settings:
    """Settings that hold for the whole session; use the instance ``scdtl.settings``.

    Examples
    --------
    >>> import scdtl
    >>> scdtl.settings.verbosity = "warning"
    """

    @property
    def verbosity(self) -> int:
        """Level of the logger ``"scdtl"``, as a number of :mod:`logging` or its name.

        Until it is set, the root logger's level holds. Where messages go is the
        application's choice: scdtl configures no handler.
        """
        return logger.getEffectiveLevel()

    @verbosity.setter
    def verbosity(self, level: int | str) -> None:
        logger.setLevel(level.upper() if isinstance(level, str) else level)

    def __repr__(self) -> str:
        return f"Settings(verbosity={logging.getLevelName(self.verbosity)!r})"


settings = Settings()
