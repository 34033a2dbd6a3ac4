"""Tests that weights are data: forged files, registries and servers are refused in words."""

from __future__ import annotations

import json
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from scdtl import SCDTL
from scdtl.datasets import toy
from scdtl.pretrained import _fetch, fetch, info, load_weights

N_MUTATIONS = 200  # of each of the kinds below
MOST_MEMORY = 8e6  # bytes; the toy file has 40 kB


# Forged files


def split(content):
    """Header of a safetensors file, scdtl's header in it, and the tensors' bytes."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    return header, json.loads(header["__metadata__"]["scdtl"]), content[end:]


def join(header, ours, body):
    header["__metadata__"]["scdtl"] = ours if isinstance(ours, str) else json.dumps(ours)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + body


def tensor_of(rng, header):
    return header[str(rng.choice([key for key in header if key != "__metadata__"]))]


def flip_bits(rng, content):
    changed = bytearray(content)
    for position in rng.integers(len(content), size=rng.integers(1, 9)):
        changed[position] ^= 1 << rng.integers(8)
    return bytes(changed)


def flip_bits_of_header(rng, content):
    end = 8 + int.from_bytes(content[:8], "little")
    return flip_bits(rng, content[:end]) + content[end:]


def cut(rng, content):
    return content[: rng.integers(len(content))]


def append(rng, content):
    return content + rng.bytes(rng.integers(1, 5_000))


def cut_out(rng, content):
    start, end = np.sort(rng.integers(len(content), size=2))
    return content[:start] + content[end:]


def announce_another_header(rng, content):
    length = int(rng.choice([0, 1, 2**20, 10**8, 2**31, 2**40, 2**63 - 1]))
    length += int(rng.integers(8))
    return length.to_bytes(8, "little") + content[8:]


def swap_types(rng, content):
    header, ours, body = split(content)
    types = ["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "U8", "BOOL", "F8_E4M3", "X", ""]
    tensor_of(rng, header)["dtype"] = str(rng.choice(types))
    return join(header, ours, body)


def declare_shapes(rng, content):
    header, ours, body = split(content)
    shapes = [[2**40], [2**32, 2**32], [2**63 - 1, 2], [0, 2**62], [], [0], [-1], [1] * 60, ["4"]]
    tensor = tensor_of(rng, header)
    tensor["shape"] = shapes[rng.integers(len(shapes))]
    if rng.random() < 0.5:
        tensor["data_offsets"] = [0, 2**62]
    return join(header, ours, body)


def move_offsets(rng, content):
    header, ours, body = split(content)
    offsets = tensor_of(rng, header)["data_offsets"]
    offsets[rng.integers(2)] += int(rng.choice([-64, -2, 2, 64, 2**31, 2**62]))
    return join(header, ours, body)


def rename_tensors(rng, content):
    header, ours, body = split(content)
    name = str(rng.choice([key for key in header if key != "__metadata__"]))
    others = ["../../etc/passwd", "/etc/passwd", "a\\b", "", "\x00", "log_mean", "é" * 999, name]
    header[others[rng.integers(len(others))]] = header.pop(name)
    return join(header, ours, body)


VALUES = [
    *(None, True, -1, 0, 1.0, 2**70, float("nan"), float("inf"), "", "../../x", "\ud800", "a\0b"),
    *([], [[]], {}, {"n_hidden": 16}, ["CD4"] * 40, [""] * 40, [None] * 40, ["\ud800"] * 40),
    *({"n_hidden": True, "n_latent": 4}, {"n_hidden": 2**40, "n_latent": 2**40}),
    {"n_hidden": 16, "n_latent": 4, "patch_size": 2**40},
    *({"n_hidden": -16, "n_latent": 4}, {"n_hidden": 16.0, "n_latent": 4}),
    *({"species": ["human"]}, {"name": {}}, {"name": "a\0b"}, {"species": "\ud800"}),
    [f"../../{number}" for number in range(40)],
]


def change_our_header(rng, content):
    header, ours, body = split(content)
    ours[str(rng.choice(list(ours)))] = VALUES[rng.integers(len(VALUES))]
    if rng.random() < 0.2:
        del ours[str(rng.choice(list(ours)))]
    return join(header, ours, body)


def change_a_gene(rng, content):
    header, ours, body = split(content)
    genes = ours[str(rng.choice(["genes", "ensembl_ids"]))]
    odd = ["", "../x", "GENE1", "\ud800", "\0", "__", "é", "a/b", " ", 7, None, ["GENE1"]]
    genes[rng.integers(40)] = odd[rng.integers(len(odd))]
    return join(header, ours, body)


def replace_our_header(rng, content):
    header, _, body = split(content)
    texts = ["", "{", "[1]", '"schema"', "7", "null", "[" * 100_000, '{"schema": ' + "9" * 9_999]
    texts += ['{"schema": {"a":' * 9_999, '{"schema": 1}', '{"schema": true}', "\ufeff{}"]
    return join(header, texts[rng.integers(len(texts))], body)


def change_values(rng, content):
    header, ours, body = split(content)
    start, end = tensor_of(rng, header)["data_offsets"]
    position = start + 2 * int(rng.integers((end - start) // 2))
    odd = np.array([np.nan, np.inf, -np.inf, 65504, -1, 0], np.float16)
    value = odd[rng.integers(len(odd))].tobytes()
    return join(header, ours, body[:position] + value + body[position + 2 :])


KINDS = [
    flip_bits,
    flip_bits_of_header,
    cut,
    append,
    cut_out,
    announce_another_header,
    swap_types,
    declare_shapes,
    move_offsets,
    rename_tensors,
    change_our_header,
    change_a_gene,
    replace_our_header,
    change_values,
]


def assert_sound(weights):
    """What a model relies on."""
    n_genes, width = len(weights.genes), weights.architecture["n_hidden"]
    assert len(set(weights.genes)) == n_genes
    assert all(weights.genes)
    assert len(weights.ensembl_ids) == n_genes
    assert set(weights.architecture) == {"n_hidden", "n_latent"}
    assert weights.tensors["encoder.genes.weight"].shape == (width, n_genes)
    assert np.array_equal(np.sort(weights.tensors["gene_order"]), np.arange(n_genes))
    for key, value in weights.tensors.items():
        assert value.dtype == (np.int32 if key == "gene_order" else np.float32)
        assert np.isfinite(value).all()
    assert isinstance(weights.name, str)


@pytest.mark.parametrize("mutate", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_a_forged_file_is_refused_by_name_or_sound(toy_weights_file, tmp_path, mutate):
    content = toy_weights_file.read_bytes()
    path = tmp_path / "forged.safetensors"
    n_refused = 0
    tracemalloc.start()
    try:
        for seed in range(N_MUTATIONS):
            path.write_bytes(mutate(np.random.default_rng(seed), content))
            try:
                weights = load_weights(path)
            except ValueError as error:
                n_refused += 1
                assert str(error).startswith(str(path))  # noqa: PT017 - either way is right
                assert "write it again with scdtl.BulkDAE.export" in str(error)  # noqa: PT017
                assert len(str(error)) < 1_000  # noqa: PT017
            else:
                assert_sound(weights)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    assert n_refused


def test_a_tensor_may_not_ask_for_more_than_the_header_explains(toy_weights_file, tmp_path):
    header, ours, body = split(toy_weights_file.read_bytes())
    n_latents = 200_000
    start = len(body)
    header["latents"] |= {"shape": [n_latents, 4], "data_offsets": [start, start + n_latents * 8]}
    path = tmp_path / "latents.safetensors"
    path.write_bytes(join(header, ours, body + bytes(n_latents * 8)))
    with pytest.raises(ValueError, match=r"latents\.safetensors "):
        load_weights(path)


def test_weights_of_another_species_are_refused(toy_weights_file, tmp_path):
    header, ours, body = split(toy_weights_file.read_bytes())
    ours["provenance"]["species"] = "zebrafish"
    ours["genes"] = [f"ENSDARG{number:011d}" for number in range(40)]
    path = tmp_path / "fish.safetensors"
    path.write_bytes(join(header, ours, body))
    adata = toy()
    SCDTL.setup_anndata(adata)
    with pytest.raises(ValueError, match="Only 0 of 40"):
        SCDTL.from_bulk_model(path, adata)


@pytest.mark.parametrize(
    "name",
    ["../../human", "/etc/passwd/human", "..\\human", "human\0", "x" * 5_000, "", "~/human", "."],
    ids=lambda name: ascii(name)[:14],
)
def test_a_name_that_is_neither_weights_nor_a_file_is_not_found(name):
    with pytest.raises(FileNotFoundError, match="among the released weights"):
        load_weights(name)


# Servers that lead elsewhere


class Server(ThreadingHTTPServer):
    """Sends its content, unless it is told where to redirect to."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.location = None
        self.requested = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requested.append(self.path)
        if server.location is not None and self.path != "/moved":
            self.send_response(302)
            self.send_header("Location", server.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(server.content)))
        self.end_headers()
        self.wfile.write(server.content)

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def server(toy_registry, toy_weights_file, monkeypatch):
    with Server(toy_weights_file.read_bytes()) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("SCDTL_BASE_URL", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def _one_attempt(monkeypatch):
    monkeypatch.setattr(_fetch, "RETRIES", 0)


@pytest.mark.parametrize("location", ["/moved", "http://localhost:{port}/moved"])
def test_a_redirect_is_followed_and_the_hash_decides(server, location, monkeypatch):
    server.location = location.format(port=server.server_port)
    assert fetch("toy").read_bytes() == server.content
    Path(info("toy")["path"]).unlink()
    server.content = server.content[:-1] + b"?"
    monkeypatch.setattr(_fetch, "RETRIES", 0)
    with pytest.raises(ValueError, match="does not match"):
        fetch("toy")
    assert info("toy")["path"] is None


@pytest.mark.usefixtures("_one_attempt")
@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_a_redirect_to_another_kind_of_address_is_not_followed(server, location):
    server.location = location
    with pytest.raises(ConnectionError, match="Cannot get the weights 'toy'"):
        fetch("toy")
    assert set(server.requested) == {"/toy.safetensors"}


@pytest.mark.usefixtures("_one_attempt")
def test_a_circle_of_redirects_ends(server):
    server.location = "/toy.safetensors"
    with pytest.raises(ConnectionError, match="30 redirects"):
        fetch("toy")
    assert len(server.requested) <= 31


def test_verbose_decides_on_the_bar_before_the_settings(server, capfd):
    fetch("toy", verbose=False)
    assert capfd.readouterr().err == ""
    Path(info("toy")["path"]).unlink()
    load_weights("toy", verbose=True)
    assert "100%|" in capfd.readouterr().err
