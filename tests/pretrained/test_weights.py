"""Tests of the weight file, whole and damaged, and of the weights that ship."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import scdtl.pretrained
from scdtl.datasets import toy
from scdtl.pp import impute
from scdtl.pretrained import BulkWeights, load_weights, save_weights


def header_length(content):
    return 8 + int.from_bytes(content[:8], "little")


@pytest.fixture
def weights(toy_weights_file):
    return load_weights(toy_weights_file)


@pytest.fixture
def changed_file(toy_weights_file, tmp_path):
    """Function that writes the toy weights with other tensors or another header."""

    def write(tensors=None, *, drop=None, header=None, metadata=None):
        content = toy_weights_file.read_bytes()
        if metadata is None:
            whole = json.loads(content[8 : header_length(content)])["__metadata__"]["scdtl"]
            metadata = {"scdtl": json.dumps(json.loads(whole) | (header or {}))}
        values = load_file(toy_weights_file) | (tensors or {})
        values = {k: v for k, v in values.items() if k != drop and v is not None}
        save_file(values, tmp_path / "changed.safetensors", metadata=metadata)
        return tmp_path / "changed.safetensors"

    return write


def test_what_was_saved_is_loaded(weights, tmp_path):
    sha256 = save_weights(weights, tmp_path / "again.safetensors")
    again = load_weights(tmp_path / "again.safetensors")
    assert sha256 == again.sha256
    assert sha256 == hashlib.sha256((tmp_path / "again.safetensors").read_bytes()).hexdigest()
    for field in dataclasses.fields(BulkWeights):
        if field.name not in ("tensors", "sha256"):
            assert getattr(again, field.name) == getattr(weights, field.name)
    assert again.tensors.keys() == weights.tensors.keys()
    for name, value in weights.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], value)
    assert [file.name for file in tmp_path.iterdir()] == ["again.safetensors"]


EIGHT_BIT = {"encoder.genes.weight": 0, "decoder.genes.weight": 1, "co_expression": 1}
"""Tensors that are stored as bytes, and the axis along which a gene's numbers lie."""


def test_a_number_in_8_bits_is_off_by_half_a_step_of_its_gene_at_most(weights, tmp_path):
    rng = np.random.default_rng(0)
    spread = np.geomspace(1e-3, 1e3, 40)  # genes differ in size
    given = {
        name: (rng.normal(size=weights.tensors[name].shape) * np.expand_dims(spread, axis)).astype(
            np.float32
        )
        for name, axis in EIGHT_BIT.items()
    }
    given["co_expression"][3] = 0  # a gene that bulk knows nothing of
    save_weights(
        dataclasses.replace(weights, tensors=weights.tensors | given), tmp_path / "x.safetensors"
    )
    loaded = load_weights(tmp_path / "x.safetensors").tensors
    for name, axis in EIGHT_BIT.items():
        step = np.abs(given[name]).max(axis, keepdims=True) / 127
        off = np.abs(loaded[name] - given[name])
        assert (off <= 0.501 * step).all()
        assert off.max() > 0
    assert not loaded["co_expression"][3].any()
    for name in weights.tensors.keys() - EIGHT_BIT.keys():
        np.testing.assert_allclose(loaded[name], weights.tensors[name], rtol=1e-3, atol=1e-6)


def test_a_file_of_schema_1_is_read_has_no_co_expression_and_can_be_saved(
    weights, changed_file, tmp_path
):
    whole = {name: value.astype(np.float16) for name, value in weights.tensors.items()}
    whole["gene_order"] = weights.tensors["gene_order"]
    for name in ("co_expression", *(f"{name}.scale" for name in EIGHT_BIT)):
        whole[name] = None
    old = load_weights(changed_file(whole, header={"schema": 1}))
    assert old.n_components == 0
    assert old.genes == weights.genes
    for name in weights.tensors.keys() - {"co_expression"}:
        np.testing.assert_allclose(old.tensors[name], weights.tensors[name], rtol=1e-3, atol=1e-6)
    save_weights(old, tmp_path / "new.safetensors")
    again = load_weights(tmp_path / "new.safetensors")
    assert again.n_components == 0
    imputed = impute(toy(), bulk=again, max_epochs=1, copy=True, verbose=False)
    assert np.isfinite(imputed.layers["scdtl"]).all()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_truncated_file_is_refused(toy_weights_file, tmp_path, share):
    content = toy_weights_file.read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"damaged\.safetensors is not a whole safetensors file"):
        load_weights(damaged)


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_flipped_bit_in_the_header_never_gives_another_error(
    toy_weights_file, tmp_path, position, bit
):
    content = bytearray(toy_weights_file.read_bytes())
    content[int(position * header_length(content))] ^= 1 << bit
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content)
    try:
        loaded = load_weights(damaged)  # a letter of a gene's name or of the provenance
    except ValueError as error:
        assert "damaged.safetensors" in str(error)  # noqa: PT017 - either way is right
    else:
        assert len(loaded.genes) == 40


@pytest.mark.parametrize("position", [0, 3, 7, 8, 10], ids="byte {}".format)
def test_a_flipped_bit_at_the_start_is_refused(toy_weights_file, tmp_path, position):
    content = bytearray(toy_weights_file.read_bytes())
    content[position] ^= 1 << 4
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.safetensors"):
        load_weights(damaged)


MISFITS = {
    "schema": ({"header": {"schema": 99}}, "schema 99.*reads schema 1"),
    "no header": ({"metadata": {"other": "{}"}}, "no scdtl header"),
    "no JSON": ({"metadata": {"scdtl": "{not json"}}, "no scdtl header"),
    "a list": ({"metadata": {"scdtl": "[1]"}}, "no scdtl header"),
    "a gene twice": ({"header": {"genes": ["CD4"] * 40}}, "no valid list of genes"),
    "few genes": (
        {"header": {"genes": ["CD4", "LYZ"], "ensembl_ids": ["", ""]}},
        "has shape .* its header says",
    ),
    "few ids": ({"header": {"ensembl_ids": [""]}}, "as many Ensembl ids as genes"),
    "no n_latent": ({"header": {"architecture": {"n_hidden": 16}}}, "architecture"),
    "n_hidden": ({"header": {"architecture": {"n_hidden": 8, "n_latent": 4}}}, "has shape"),
    "no provenance": ({"header": {"provenance": None}}, "provenance"),
    "missing tensor": ({"drop": "log_mean"}, "missing or unexpected tensors: log_mean"),
    "more tensors": ({"tensors": {"more": np.zeros(3)}}, "missing or unexpected tensors: more"),
    "log_mean short": ({"tensors": {"log_mean": np.zeros(39)}}, r"log_mean has shape \[39\]"),
    "latents wide": ({"tensors": {"latents": np.zeros((256, 5))}}, "latents has shape"),
    "NaN": ({"tensors": {"log_mean": np.full(40, np.nan)}}, "log_mean.*not finite"),
    "infinite": ({"tensors": {"decoder.genes.bias": np.full(40, np.inf)}}, "not finite"),
    "scale missing": ({"drop": "co_expression.scale"}, "co_expression.scale"),
    "scale NaN": (
        {"tensors": {"co_expression.scale": np.full((40, 1), np.nan, np.float32)}},
        "co_expression has values that are not finite",
    ),
    "scale too large": (
        {"tensors": {"encoder.genes.weight.scale": np.full((1, 40), 1e38, np.float32)}},
        "encoder.genes.weight has values that are not finite",
    ),
    "scale of another shape": (  # which would fill 400 GB
        {
            "tensors": {
                "co_expression": np.zeros((100_000, 1), np.int8),
                "co_expression.scale": np.ones((1, 1_000_000), np.float32),
            }
        },
        "does not fit: .*output operand",
    ),
    "gene order": ({"tensors": {"gene_order": np.zeros(40, np.int32)}}, "not a permutation"),
}


@pytest.mark.parametrize(("change", "message"), MISFITS.values(), ids=MISFITS)
def test_a_file_that_does_not_fit_is_refused(changed_file, change, message):
    with pytest.raises(ValueError, match=message):
        load_weights(changed_file(**change))


def test_an_unchanged_file_passes(changed_file, weights):
    assert load_weights(changed_file()).genes == weights.genes


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(FileNotFoundError, match="'martian'.*human"):
        load_weights("martian")


def test_human_weights_load_without_network(monkeypatch):
    def no_network(*args, **kwargs):
        pytest.fail("tried to reach the network")

    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr(socket, "create_connection", no_network)
    weights = load_weights("human")
    assert weights.name == "human"
    assert len(weights.genes) > 10_000
    assert {"CD3D", "ACTB", "ALB"} <= set(weights.genes)
    assert sum(name.startswith("ENSG") for name in weights.ensembl_ids) > 10_000
    assert weights.provenance


@pytest.mark.parametrize("name", ["human", "mouse"])
def test_weights_that_ship_are_small_and_of_8_and_16_bits(name):
    path = Path(scdtl.pretrained.__file__).parent / f"{name}.safetensors"
    assert path.stat().st_size <= 10e6
    dtypes = {name: value.dtype for name, value in load_file(path).items()}
    assert dtypes.pop("gene_order") == np.int32
    for tensor in EIGHT_BIT:
        assert dtypes.pop(tensor) == np.int8
        assert dtypes.pop(f"{tensor}.scale") == np.float32
    assert set(dtypes.values()) == {np.dtype(np.float16)}


def test_mouse_weights_know_mouse_genes():
    weights = load_weights("mouse")
    assert weights.provenance["species"] == "mouse"
    assert {"Cd3d", "Actb", "Alb"} <= set(weights.genes)
    assert sum(name.startswith("ENSMUSG") for name in weights.ensembl_ids) > 10_000
