"""Tests of finding weights: folders, and a real server on this machine that fails in real ways."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest

from scdtl._settings import settings
from scdtl.datasets import toy
from scdtl.pp import impute
from scdtl.pretrained import _fetch, clear_cache, fetch, info, load_weights

ROOT = Path(__file__).parents[2]
IS_ROOT = not hasattr(os, "getuid") or os.getuid() == 0  # Windows has neither
LOAD = (
    "import sys\nfrom pathlib import Path\n"
    "from scdtl.pretrained import _registry, load_weights\n"
    "_registry.PATH = Path(sys.argv[1])\n"
    "print(load_weights('toy').sha256)\n"
)


class Server(ThreadingHTTPServer):
    """Answers one request after the other as `answers` says, and wholly once they are used up."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.answers = []
        self.requested = []
        self.ended = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requested.append(self.path)
        answer = self.server.answers.pop(0) if self.server.answers else whole
        answer(self, self.server.content)

    def head(self, length=None, status=200):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *args):
        """Say nothing."""


def whole(handler, content):
    handler.head(len(content))
    handler.wfile.write(content)


def cut(handler, content):
    """Announce the file and send half of it."""
    handler.head(len(content))
    handler.wfile.write(content[: len(content) // 2])


def cut_unannounced(handler, content):
    """Send half of it without saying how long it is, which no client can see."""
    handler.head()
    handler.wfile.write(content[: len(content) // 2])


def altered(handler, content):
    handler.head(len(content))
    handler.wfile.write(content[:-1] + bytes([content[-1] ^ 1]))


def status(number):
    return lambda handler, content: handler.head(0, number)


def silent(handler, content):
    handler.server.ended.wait(10)


def stalled(handler, content):
    handler.head(len(content))
    handler.wfile.write(content[: len(content) // 2])
    handler.server.ended.wait(10)


def slow(handler, content):
    """Send ten pieces, one each tenth of a second."""
    handler.head(len(content))
    step = len(content) // 10 + 1
    for start in range(0, len(content), step):
        handler.wfile.write(content[start : start + step])
        time.sleep(0.1)


@pytest.fixture
def server(toy_registry, toy_weights_file, monkeypatch):
    with Server(toy_weights_file.read_bytes()) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("SCDTL_BASE_URL", server.url)
        yield server
        server.ended.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def _one_attempt(monkeypatch):
    monkeypatch.setattr(_fetch, "RETRIES", 0)


@pytest.fixture
def cached(toy_registry):
    """Where the toy weights are once they were downloaded."""
    return settings.cache_dir / info("toy")["version"] / "toy.safetensors"


def put(path, content=b"half"):
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def test_a_file_is_downloaded_once(server, cached):
    assert fetch("toy") == cached
    assert cached.read_bytes() == server.content
    assert fetch("toy") == cached
    assert server.requested == ["/toy.safetensors"]
    assert os.listdir(cached.parent) == ["toy.safetensors"]


def test_weights_are_loaded_by_name(server, toy_weights_file):
    weights = load_weights("toy")
    assert weights.sha256 == load_weights(toy_weights_file).sha256
    assert weights.name == "toy"


def test_impute_downloads_by_itself(server):
    adata = toy()
    impute(adata, bulk="toy", max_epochs=0, verbose=False)
    assert adata.uns["scdtl"]["weights"]["name"] == "toy"
    assert server.requested == ["/toy.safetensors"]


def test_what_ships_is_never_downloaded(server):
    assert fetch("human").parent == Path(_fetch.__file__).parent
    assert not server.requested


def test_a_damaged_file_of_the_package_is_refused(server, monkeypatch, tmp_path):
    put(tmp_path / "package" / "human.safetensors")
    monkeypatch.setattr(_fetch, "_PACKAGE", tmp_path / "package")
    with pytest.raises(ValueError, match="does not match the registry: reinstall scdtl"):
        fetch("human")
    assert not server.requested


@pytest.mark.parametrize(
    "answer", [cut, cut_unannounced, status(503)], ids=["cut", "cut_unannounced", "503"]
)
def test_a_broken_transfer_is_tried_again(server, cached, answer):
    server.answers = [answer]
    assert fetch("toy").read_bytes() == server.content
    assert len(server.requested) == 2
    assert os.listdir(cached.parent) == ["toy.safetensors"]


@pytest.mark.usefixtures("_one_attempt")
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (cut, ConnectionError),
        (cut_unannounced, ValueError),
        (altered, ValueError),
        (status(500), ConnectionError),
    ],
    ids=["cut", "cut_unannounced", "altered", "500"],
)
def test_a_failed_download_leaves_nothing_and_may_be_repeated(server, cached, answer, error):
    server.answers = [answer]
    with pytest.raises(error):
        fetch("toy")
    assert os.listdir(cached.parent) == []
    assert fetch("toy").read_bytes() == server.content


@pytest.mark.usefixtures("_one_attempt")
@pytest.mark.parametrize("number", [403, 404])
def test_a_refusal_is_told(server, cached, number):
    server.answers = [status(number)]
    with pytest.raises(ConnectionError, match=f"{number} Client Error"):
        fetch("toy")
    assert os.listdir(cached.parent) == []


@pytest.mark.usefixtures("_one_attempt")
@pytest.mark.parametrize("address", ["http://mirror.org", "ftp://127.0.0.1", "http://[broken"])
def test_an_address_that_is_not_safe_or_none_is_refused_at_once(server, monkeypatch, address):
    monkeypatch.setenv("SCDTL_BASE_URL", address)
    with pytest.raises((ValueError, ConnectionError), match="Cannot get the weights 'toy'"):
        fetch("toy")
    assert not server.requested


@pytest.mark.usefixtures("_one_attempt")
@pytest.mark.parametrize("answer", [silent, stalled])
def test_a_server_that_stops_is_not_waited_for(server, cached, monkeypatch, answer):
    monkeypatch.setattr(_fetch, "TIMEOUT", (0.2, 0.2))
    server.answers = [answer]
    with pytest.raises(ConnectionError, match="timed out"):
        fetch("toy")
    assert os.listdir(cached.parent) == []


@pytest.mark.usefixtures("_one_attempt")
def test_a_slow_server_is_waited_for(server, monkeypatch):
    monkeypatch.setattr(_fetch, "TIMEOUT", (0.8, 0.8))
    server.answers = [slow]
    assert fetch("toy").read_bytes() == server.content


# On this machine


@pytest.fixture
def folder(toy_registry, toy_weights_file, tmp_path):
    """A folder that holds the toy weights."""
    folder = tmp_path / "a folder" / "weights"
    folder.mkdir(parents=True)
    shutil.copy(toy_weights_file, folder)
    return folder


def install_from(origin, tmp_path, monkeypatch):
    """Leave the note that an installer leaves of where scdtl came from (PEP 610)."""
    note = tmp_path / "site-packages" / "scdtl-0.1.0.dist-info"
    note.mkdir(parents=True)
    (note / "METADATA").write_text("Metadata-Version: 2.4\nName: scdtl\nVersion: 0.1.0\n")
    if origin is not None:
        (note / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.syspath_prepend(note.parent)


@pytest.mark.parametrize("form", ["path", "home", "relative", "file", "file/"])
def test_base_url_may_be_a_folder(server, folder, monkeypatch, form):
    monkeypatch.setenv("SCDTL_OFFLINE", "1")  # which a folder does not need
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.chdir(folder.parent)
    forms = {"path": str(folder), "home": "~/weights", "relative": "weights"}
    forms |= {"file": folder.as_uri(), "file/": f"{folder.as_uri()}/"}
    monkeypatch.setenv("SCDTL_BASE_URL", forms[form])
    assert fetch("toy") == folder / "toy.safetensors"
    assert load_weights("toy").name == "toy"
    assert info("toy")["path"] == str(folder / "toy.safetensors")
    assert info("toy")["local"]
    assert info("toy")["url"] is None
    assert not server.requested


@pytest.mark.parametrize("editable", [True, False])
def test_the_repository_that_scdtl_was_installed_from_holds_weights(
    folder, tmp_path, monkeypatch, editable
):
    origin = {"url": folder.parent.as_uri(), "dir_info": {"editable": True} if editable else {}}
    install_from(origin, tmp_path, monkeypatch)
    adata = toy()
    impute(adata, bulk="toy", max_epochs=0, verbose=False)
    assert adata.uns["scdtl"]["weights"]["sha256"] == info("toy")["sha256"]
    assert info("toy")["path"] == str(folder / "toy.safetensors")


@pytest.mark.parametrize(
    "origin",
    [
        None,
        {"url": "https://example.org/scdtl.git", "vcs_info": {"vcs": "git"}},
        {"url": "file:///nowhere/scdtl-0.1.0-py3-none-any.whl", "archive_info": {}},
    ],
    ids=["registry", "git", "wheel"],
)
def test_installed_from_elsewhere_there_are_none(toy_registry, tmp_path, monkeypatch, origin):
    install_from(origin, tmp_path, monkeypatch)
    assert info("toy")["path"] is None
    with pytest.raises(FileNotFoundError) as error:
        fetch("toy")
    assert len(str(error.value).split("\n")[1].split(", ")) == 2  # the package and the cache


def test_the_weights_of_this_repository_are_found(tmp_path, monkeypatch):
    file = ROOT / "weights" / "human-bulk.safetensors"
    if not file.exists():
        pytest.skip("the source archive does not hold them")
    monkeypatch.delenv("SCDTL_BASE_URL", raising=False)
    monkeypatch.setenv("SCDTL_CACHE_DIR", str(tmp_path))
    install_from({"url": ROOT.as_uri(), "dir_info": {}}, tmp_path, monkeypatch)
    assert fetch("human-bulk") == file


def test_a_file_with_another_hash_is_not_used(server, folder, monkeypatch, caplog):
    (folder / "toy.safetensors").write_bytes(server.content[:-1])
    monkeypatch.setenv("SCDTL_BASE_URL", str(folder))
    with pytest.raises(FileNotFoundError, match="no toy.safetensors with the registry's sha256"):
        fetch("toy")
    assert f"{folder / 'toy.safetensors'} is not used: its sha256 does not match" in caplog.text
    assert not info("toy")["local"]


@pytest.mark.skipif(IS_ROOT, reason="root may look everywhere")
def test_a_repository_that_may_not_be_read_is_passed_over(server, folder, tmp_path, monkeypatch):
    install_from({"url": folder.parent.as_uri(), "dir_info": {}}, tmp_path, monkeypatch)
    folder.parent.chmod(0o000)
    try:
        assert fetch("toy").read_bytes() == server.content
    finally:
        folder.parent.chmod(0o700)


def test_where_nothing_is_found_the_error_is_three_lines_and_its_advice_works(
    folder, cached, tmp_path, monkeypatch
):
    install_from({"url": (tmp_path / "clone").as_uri(), "dir_info": {}}, tmp_path, monkeypatch)
    with pytest.raises(FileNotFoundError) as error:
        load_weights("toy")
    what, where, ways_out = str(error.value).split("\n")
    assert what == (
        "Cannot get the weights 'toy': no toy.safetensors with the registry's sha256 was found."
    )
    package = Path(_fetch.__file__).parent / "toy.safetensors"
    clone = tmp_path / "clone" / "weights" / "toy.safetensors"
    assert where == f"Looked for {package}, {clone}, {cached} (SCDTL_CACHE_DIR)."
    assert "Set SCDTL_BASE_URL to a folder or https address" in ways_out
    assert "or pass the path of the file instead of the name" in ways_out
    assert load_weights(folder / "toy.safetensors").name == "toy"
    monkeypatch.setenv("SCDTL_BASE_URL", str(folder))
    assert load_weights("toy").name == "toy"


@pytest.mark.usefixtures("_one_attempt")
def test_the_address_that_failed_is_among_the_places(toy_registry, monkeypatch):
    monkeypatch.setenv("SCDTL_BASE_URL", "http://127.0.0.1:9/folder/")
    with pytest.raises(ConnectionError, match="refused") as error:
        fetch("toy")
    lines = str(error.value).split("\n")
    assert len(lines) == 3
    assert lines[1].endswith(", http://127.0.0.1:9/folder/toy.safetensors.")


# The cache


@pytest.mark.parametrize("answer", [whole, altered])
def test_a_damaged_file_in_the_cache_is_replaced_or_refused(
    server, cached, monkeypatch, caplog, answer
):
    monkeypatch.setattr(_fetch, "RETRIES", 0)
    put(cached)
    server.answers = [answer]
    if answer is whole:
        assert fetch("toy").read_bytes() == server.content
    else:
        with pytest.raises(ValueError, match="does not match"):
            fetch("toy")
    assert f"{cached} is not used: its sha256 does not match the registry" in caplog.text
    assert os.listdir(cached.parent) == ["toy.safetensors"]


@pytest.mark.parametrize("content", [None, b"half"], ids=["missing", "damaged"])
def test_offline_without_the_file_is_an_error(server, cached, monkeypatch, content):
    monkeypatch.setenv("SCDTL_OFFLINE", "1")
    if content is not None:
        put(cached, content)
    with pytest.raises(FileNotFoundError, match="sha256 was found, and scdtl is offline"):
        load_weights("toy")
    assert not server.requested


def test_offline_the_cache_serves(server, cached, monkeypatch):
    monkeypatch.setenv("SCDTL_OFFLINE", "1")
    put(cached, server.content)
    assert load_weights("toy").name == "toy"
    assert not server.requested


def test_settings_are_read_at_each_call(server, monkeypatch, tmp_path):
    first = fetch("toy")
    monkeypatch.setenv("SCDTL_CACHE_DIR", str(tmp_path / "other"))
    monkeypatch.setenv("SCDTL_BASE_URL", f"{server.url}/mirror/")
    second = fetch("toy")
    assert first != second
    assert second == tmp_path / "other" / info("toy")["version"] / "toy.safetensors"
    assert server.requested == ["/toy.safetensors", "/mirror/toy.safetensors"]


def test_two_processes_at_once_end_well(server, toy_registry, cached):
    both = threading.Barrier(2)

    def together(handler, content):
        handler.head(len(content))
        handler.wfile.write(content[: len(content) // 2])
        both.wait(60)  # neither is whole before both have begun
        handler.wfile.write(content[len(content) // 2 :])

    server.answers = [together, together]
    command = [sys.executable, "-c", LOAD, toy_registry]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        said, complained = process.communicate(timeout=120)
        assert process.returncode == 0, complained
        assert said.strip() == info("toy")["sha256"]
    assert len(server.requested) == 2
    assert os.listdir(cached.parent) == ["toy.safetensors"]


def test_a_killed_process_leaves_no_half_file_in_the_way(server, toy_registry, cached):
    half_sent = threading.Event()

    def hold(handler, content):
        handler.head(len(content))
        handler.wfile.write(content[: len(content) // 2])
        half_sent.set()
        handler.server.ended.wait(60)

    server.answers = [hold]
    with subprocess.Popen(
        [sys.executable, "-c", LOAD, toy_registry], stderr=subprocess.DEVNULL
    ) as process:
        assert half_sent.wait(60)
        process.kill()
    (left,) = cached.parent.iterdir()
    assert left != cached
    assert fetch("toy").read_bytes() == server.content
    clear_cache()
    assert not cached.parent.exists()


@pytest.mark.skipif(IS_ROOT, reason="root may write everywhere")
@pytest.mark.parametrize("is_there", [True, False])
def test_a_read_only_cache_serves_what_it_has(server, cached, is_there):
    cached.parent.mkdir(parents=True)
    if is_there:
        cached.write_bytes(server.content)
    cached.parent.chmod(0o500)
    try:
        if is_there:
            assert fetch("toy") == cached
        else:
            with pytest.raises(PermissionError, match=r"Cannot get the weights 'toy'.*folder"):
                fetch("toy")
        assert not server.requested
    finally:
        cached.parent.chmod(0o700)


@pytest.mark.parametrize("level", [0, 1])
def test_a_cache_that_is_no_folder_is_an_error(server, cached, level):
    folder = cached.parents[level]
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("no folder")
    with pytest.raises(OSError, match=r"Cannot get the weights 'toy'(.|\n)*SCDTL_CACHE_DIR"):
        fetch("toy")
    assert not server.requested


def test_clear_cache_deletes_what_is_ours(server, cached):
    fetch("toy")
    (cached.parent / "tmp_12345x").write_text("left by a process that was killed: not our name")
    (cached.parent / "tmpabcd_123").write_text("left by a process that was killed")
    (cached.parent / "other.safetensors").write_text("of somebody else")
    (cached.parents[1] / "notes.txt").write_text("of somebody else")
    clear_cache()
    assert sorted(os.listdir(cached.parent)) == ["other.safetensors", "tmp_12345x"]
    assert sorted(os.listdir(cached.parents[1])) == ["notes.txt", cached.parent.name]
    assert fetch("toy") == cached


def test_clear_cache_removes_its_empty_folder_alone(server, cached):
    clear_cache()
    fetch("toy")
    clear_cache()
    assert os.listdir(cached.parents[1]) == []


@pytest.mark.parametrize(("level", "shows"), [("WARNING", True), ("ERROR", False)])
def test_the_progress_bar_is_as_loud_as_the_settings(server, caplog, capfd, level, shows):
    caplog.set_level(level, logger="scdtl")
    fetch("toy")
    assert ("100%|" in capfd.readouterr().err) == shows


def test_pooch_is_silent_and_we_say_what_is_downloaded(server, caplog, capfd):
    level = pooch.get_logger().level
    caplog.set_level(logging.INFO, logger="scdtl")
    fetch("toy")
    assert f"downloading {server.url}/toy.safetensors" in caplog.text
    assert "Downloading file" not in capfd.readouterr().err
    assert pooch.get_logger().level == level


def test_nothing_is_downloaded_while_settings_forbid_it(server):
    settings.offline = True
    try:
        with pytest.raises(FileNotFoundError):
            fetch("toy")
    finally:
        settings.offline = None
    assert not server.requested
