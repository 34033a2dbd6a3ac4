"""Tests of the session's settings."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pooch
import pytest

from scdtl._settings import logger, settings


@pytest.fixture(autouse=True)
def _keep(monkeypatch):
    for name in ("SCDTL_CACHE_DIR", "SCDTL_BASE_URL", "SCDTL_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    level = logger.level
    yield
    logger.setLevel(level)
    settings.cache_dir = settings.base_url = settings.offline = None


@pytest.mark.parametrize("level", ["error", "ERROR", logging.ERROR])
def test_verbosity_sets_the_level_of_our_logger_alone(level):
    root = logging.getLogger().level
    settings.verbosity = level
    assert settings.verbosity == logger.level == logging.ERROR
    assert logging.getLogger().level == root
    assert "verbosity='ERROR'" in repr(settings)


def test_unknown_verbosity_is_refused():
    with pytest.raises(ValueError, match="LOUD"):
        settings.verbosity = "loud"


LOG = """
import logging, scdtl
{configure}
log = logging.getLogger("scdtl.pp")
log.debug("a detail"); log.info("a note"); log.warning("a warning")
"""


@pytest.mark.parametrize(
    ("configure", "shown"),
    [
        ("", "scdtl: a note\nscdtl: a warning\n"),
        ("scdtl.settings.verbosity = 'warning'", "scdtl: a warning\n"),
        (
            "scdtl.settings.verbosity = 'debug'",
            "scdtl: a detail\nscdtl: a note\nscdtl: a warning\n",
        ),
        ("logging.basicConfig(format='app: %(message)s')", "app: a note\napp: a warning\n"),
        ("logging.getLogger('scdtl').addHandler(logging.StreamHandler())", "a note\na warning\n"),
    ],
    ids=["default", "quiet", "detailed", "configured application", "own handler"],
)
def test_messages_are_shown_once_and_where_the_application_wants_them(configure, shown):
    command = [sys.executable, "-c", LOG.format(configure=configure)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == shown


def test_defaults_are_no_address_and_the_cache_of_the_system():
    assert settings.cache_dir == pooch.os_cache("scdtl")
    assert settings.base_url is None
    assert settings.offline is False


def test_the_environment_is_read_at_each_call(monkeypatch):
    for name in ("first", "second"):
        monkeypatch.setenv("SCDTL_CACHE_DIR", f"~/{name}")
        monkeypatch.setenv("SCDTL_BASE_URL", f"https://{name}.org")
        assert settings.cache_dir == Path.home() / name
        assert settings.base_url == f"https://{name}.org"
    monkeypatch.setenv("SCDTL_CACHE_DIR", "")
    monkeypatch.setenv("SCDTL_BASE_URL", "")
    test_defaults_are_no_address_and_the_cache_of_the_system()


@pytest.mark.parametrize(
    ("value", "offline"),
    [("1", True), ("true", True), ("ON", True), ("0", False), ("False", False), ("", False)],
)
def test_offline_is_read_from_the_environment(monkeypatch, value, offline):
    monkeypatch.setenv("SCDTL_OFFLINE", value)
    assert settings.offline is offline


def test_an_assignment_wins_until_it_is_undone(monkeypatch, tmp_path):
    monkeypatch.setenv("SCDTL_CACHE_DIR", "/environment")
    monkeypatch.setenv("SCDTL_BASE_URL", "https://environment.org")
    monkeypatch.setenv("SCDTL_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    settings.cache_dir, settings.base_url, settings.offline = "here", "https://here.org", False
    assert settings.cache_dir == tmp_path / "here"
    assert settings.base_url == "https://here.org"
    assert settings.offline is False
    assert repr(settings).endswith(
        f"cache_dir='{tmp_path / 'here'}', base_url='https://here.org', offline=False)"
    )
    settings.base_url = tmp_path
    assert settings.base_url == str(tmp_path)
    settings.cache_dir = settings.base_url = settings.offline = None
    assert settings.cache_dir == Path("/environment")
    assert settings.base_url == "https://environment.org"
    assert settings.offline is True
