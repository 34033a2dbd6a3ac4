"""Tests of the session's settings."""

from __future__ import annotations

import logging

import pytest

from scdtl._settings import logger, settings


@pytest.fixture(autouse=True)
def _keep_level():
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.mark.parametrize("level", ["error", "ERROR", logging.ERROR])
def test_verbosity_sets_the_level_of_our_logger_alone(level):
    root = logging.getLogger().level
    settings.verbosity = level
    assert settings.verbosity == logger.level == logging.ERROR
    assert logging.getLogger().level == root
    assert repr(settings) == "Settings(verbosity='ERROR')"


def test_unknown_verbosity_is_refused():
    with pytest.raises(ValueError, match="LOUD"):
        settings.verbosity = "loud"


def test_no_handler_writes_anywhere():
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
