"""Tests of fetching weights, from a real server on this machine that fails in real ways."""

from __future__ import annotations

import logging
import os
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
    """Where the toy weights belong."""
    return Path(info("toy")["path"])


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
    monkeypatch.setattr(_fetch, "_FOLDER", tmp_path / "package")
    with pytest.raises(ValueError, match="is not the file of the registry: install scdtl again"):
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


@pytest.mark.parametrize("number", [401, 403, 404, 410])
def test_a_refusal_is_final(server, cached, number):
    server.answers = [status(number)]
    with pytest.raises(ConnectionError, match=f"{number} Client Error"):
        fetch("toy")
    assert len(server.requested) == 1
    assert os.listdir(cached.parent) == []


def test_an_address_that_is_none_is_refused_at_once(server, monkeypatch):
    monkeypatch.setenv("SCDTL_BASE_URL", "mirror/weights")
    with pytest.raises(ConnectionError, match="Invalid URL 'mirror/weights/toy.safetensors'"):
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


@pytest.mark.usefixtures("_one_attempt", "toy_registry")
def test_an_error_tells_all_that_helps(cached):
    with pytest.raises(ConnectionError) as error:
        fetch("toy")
    for part in (
        "refused",
        "File toy.safetensors,",
        "URL http://127.0.0.1:9/weights-v1/toy.safetensors,",
        f"sha256 {info('toy')['sha256']},",
        f"folder {cached.parent}.",
        'bulk="path/to/toy.safetensors"',
        "SCDTL_CACHE_DIR",
    ):
        assert part in str(error.value)


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
    assert "toy.safetensors is damaged (its sha256 is wrong): downloading it again" in caplog.text
    assert os.listdir(cached.parent) == ["toy.safetensors"]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, "does not exist and scdtl is offline"),
        (b"half", ValueError, "damaged .* and scdtl is offline"),
    ],
)
def test_offline_without_the_file_is_an_error(
    server, cached, monkeypatch, content, error, message
):
    monkeypatch.setenv("SCDTL_OFFLINE", "1")
    if content is not None:
        put(cached, content)
    with pytest.raises(error, match=message):
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
    assert second == tmp_path / "other" / "weights-v1" / "toy.safetensors"
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


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
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
    assert sorted(os.listdir(cached.parents[1])) == ["notes.txt", "weights-v1"]
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
