"""Saving and loading: models are data, whole or not there, and read with suspicion."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, safe_open, save_file
from scvi.train import SaveCheckpoint

from scdtl import SCDTL, BulkDAE
from scdtl._random import local_seed
from scdtl.datasets import toy, toy_bulk
from scdtl.model._schema import contents
from scdtl.pretrained import load_weights
from scdtl.pretrained._safetensors import sha256_of

OLD = Path(__file__).parent / "saved_0_1"


def imputed(model, adata=None):
    return model.get_imputed_expression(adata, return_numpy=True)


def load(folder, adata=False, cls=SCDTL, **kwargs):
    return cls.load(folder, adata, **kwargs)


@pytest.fixture(scope="module")
def small_model():
    """Of few weights, from bulk, with two batches; not to be changed."""
    adata = toy(n_batches=2)
    SCDTL.setup_anndata(adata, batch_key="batch")
    with local_seed(0):
        bulk = load(OLD / "bulk", toy_bulk(), BulkDAE)
        model = SCDTL.from_bulk_model(bulk, adata, patch_size=16)
        model.train(max_epochs=2, enable_progress_bar=False)
    return model


@pytest.fixture(scope="module")
def saved(small_model, tmp_path_factory):
    """Folder of the small model; not to be changed."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    small_model.save(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """Copy of that folder."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def file_of(folder):
    return folder / "model.safetensors"


def rewrite(folder, edit):
    """Let `edit` change header and tensors, and sign what comes out, as an attacker would."""
    path = file_of(folder)
    tensors = load_file(path)
    with safe_open(path, "numpy") as file:
        header = json.loads(file.metadata()["scdtl_model"])
    del header["sha256"]
    edit(header, tensors)
    header["sha256"] = sha256_of(header, tensors)
    save_file(tensors, path, {"scdtl_model": json.dumps(header)})


# A round trip


def test_a_loaded_model_says_the_same_bit_by_bit(small_model, saved):
    model = load(saved, toy(n_batches=2))
    assert model.is_trained
    assert not model.module.training
    for method in ("get_imputed_expression", "get_latent_representation", "get_attention"):
        assert np.array_equal(getattr(model, method)(), getattr(small_model, method)()), method
    assert model.transfer_ == small_model.transfer_
    assert np.array_equal(model.trusted_genes, small_model.trusted_genes)
    assert np.array_equal(model.in_bulk_, small_model.in_bulk_)
    assert model.history.keys() == small_model.history.keys()
    for name, table in small_model.history.items():
        pd.testing.assert_frame_equal(model.history[name], table)


def test_a_loaded_bulk_model_says_the_same_bit_by_bit(toy_bulk_model, tmp_path):
    toy_bulk_model.save(tmp_path / "model")
    model = load(tmp_path / "model", toy_bulk(), BulkDAE)
    assert np.array_equal(model.get_imputed_expression(), toy_bulk_model.get_imputed_expression())
    without = load(tmp_path / "model", False, BulkDAE)
    assert np.array_equal(imputed(without, toy_bulk()), imputed(toy_bulk_model))


def test_saving_a_loaded_model_gives_the_same_bytes(saved, tmp_path):
    load(saved).save(tmp_path / "again")
    assert file_of(tmp_path / "again").read_bytes() == file_of(saved).read_bytes()


def test_a_loaded_model_imputes_new_cells(small_model, saved):
    cells = toy(n_obs=20, n_batches=2, seed=1)
    assert np.array_equal(imputed(load(saved), cells), imputed(small_model, cells.copy()))


def test_training_goes_on_as_if_there_had_been_no_file(folder):
    models = [load(folder, toy(n_batches=2)) for _ in range(2)]
    models[0].save(folder, overwrite=True)
    models[0] = load(folder, toy(n_batches=2))
    for model in models:
        with local_seed(3):
            model.train(max_epochs=2, enable_progress_bar=False)
    assert len(models[0].history["train_loss"]) == 4
    assert np.array_equal(imputed(models[0]), imputed(models[1]))


def test_an_untrained_model_can_be_saved(tmp_path, adata):
    SCDTL.setup_anndata(adata)
    SCDTL(adata, n_hidden=8, n_latent=4).save(tmp_path / "model")
    model = load(tmp_path / "model", adata)
    assert not model.is_trained
    model.train(max_epochs=1, enable_progress_bar=False)


def test_loading_leaves_random_states_alone(saved):
    before = torch.get_rng_state()
    load(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_named_by_numbers_stay_numbers(tmp_path, adata):
    adata.obs["batch"] = pd.Categorical(np.arange(60) % 3)
    SCDTL.setup_anndata(adata, batch_key="batch")
    model = SCDTL(adata, n_hidden=8, n_latent=4)
    model.save(tmp_path / "model")
    registry = SCDTL.load_registry(tmp_path / "model")
    names = registry["field_registries"]["batch"]["state_registry"]["categorical_mapping"]
    assert names.tolist() == [0, 1, 2]
    assert load(tmp_path / "model", adata).summary_stats.n_batch == 3


def test_the_setup_is_read_as_scvi_tools_keeps_it(small_model, saved, toy_bulk_model, tmp_path):
    toy_bulk_model.save(tmp_path / "bulk")
    cells = toy(n_batches=2)
    cells.layers["counts"] = cells.X
    SCDTL.setup_anndata(cells, layer="counts")
    SCDTL(cells, n_hidden=8, n_latent=4).save(tmp_path / "layer")
    for model, folder in (
        (small_model, saved),
        (toy_bulk_model, tmp_path / "bulk"),
        (SCDTL(cells), tmp_path / "layer"),
    ):
        expected = {key: value for key, value in model.registry.items() if key != "_scvi_uuid"}
        np.testing.assert_equal(SCDTL.load_registry(folder), expected)


def test_parameters_may_be_numbers_of_numpy(tmp_path, adata):
    SCDTL.setup_anndata(adata)
    SCDTL(adata, n_hidden=np.int64(8), dropout_rate=np.float32(0.5)).save(tmp_path / "model")
    assert load(tmp_path / "model").module.dae.encoder.latent.in_features == 8


def test_attributes_that_a_user_adds_are_not_saved(folder):
    model = load(folder)
    model.notes_ = {"a": object()}
    model.save(folder, overwrite=True)
    assert not hasattr(load(folder), "notes_")


# Files and folders


def test_there_is_one_file_and_others_may_read_it(saved):
    assert [path.name for path in saved.iterdir()] == ["model.safetensors"]
    (saved.parent / "plain").touch()
    assert file_of(saved).stat().st_mode == (saved.parent / "plain").stat().st_mode


def test_data_saved_with_the_model_are_loaded_with_it(small_model, tmp_path):
    small_model.save(tmp_path / "model", prefix="a_", save_anndata=True, compression="gzip")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "a_adata.h5ad",
        "a_model.safetensors",
    ]
    model = load(tmp_path / "model", None, prefix="a_")
    assert np.array_equal(imputed(model), imputed(small_model))


def test_without_any_data_the_model_is_loaded_and_says_so(small_model, saved):
    with pytest.warns(UserWarning, match="loaded without data"):
        model = load(saved, None)
    assert model.adata is None
    assert np.array_equal(imputed(model, toy(n_batches=2)), imputed(small_model))


def test_data_that_are_not_there_can_not_be_saved(saved, tmp_path):
    with pytest.raises(ValueError, match="save_anndata=True needs"):
        load(saved).save(tmp_path / "model", save_anndata=True)
    assert not (tmp_path / "model").exists()


def test_a_folder_is_overwritten_only_if_that_is_wanted(small_model, folder):
    before = file_of(folder).read_bytes()
    with pytest.raises(ValueError, match="already exists"):
        small_model.save(folder)
    assert file_of(folder).read_bytes() == before
    small_model.save(str(folder), overwrite=True)
    small_model.save(folder / "a" / "b")
    assert np.array_equal(imputed(load(str(folder)), toy(n_batches=2)), imputed(small_model))


def test_a_network_that_diverged_is_not_saved(folder):
    model = load(folder)
    model.module.log_mean[0, 0] = torch.nan
    with pytest.raises(ValueError, match="log_mean has values that are not finite"):
        model.save(folder, overwrite=True)
    load(folder)


def test_an_error_while_writing_leaves_the_earlier_files(small_model, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    small_model.save(folder, save_anndata=True)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def write_half(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="No space"):
        load(folder).save(folder, overwrite=True)
    monkeypatch.setattr(
        anndata.AnnData, "write_h5ad", lambda adata, path, **_: write_half(Path(path), b"half")
    )
    with pytest.raises(OSError, match="No space"):
        small_model.save(folder, overwrite=True, save_anndata=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_arguments_of_loading_that_only_a_pickle_has_use_for_are_refused(small_model, tmp_path):
    small_model.save(tmp_path / "model")
    for name in ("allowed_classes_names_list", "backup_url", "datamodule"):
        with pytest.raises(TypeError, match=name):
            load(tmp_path / "model", **{name: "x"})


def test_the_setup_of_a_saved_model_can_be_read(saved, capsys):
    expected = {"layer": None, "batch_key": "batch", "noise": "umi"}
    assert SCDTL.load_registry(saved)["setup_args"] == expected
    SCDTL.view_setup_args(saved)
    assert "'batch_key': 'batch'" in capsys.readouterr().out


# Data that do not fit


def test_other_genes_are_refused(saved):
    cells = toy(n_batches=2)[:, ::-1].copy()
    with pytest.raises(ValueError, match="genes of adata differ from those .* adata=False"):
        load(saved, cells)
    assert "_scvi_uuid" not in cells.uns


def test_an_unknown_batch_is_refused(saved):
    cells = toy(n_batches=2)
    cells.obs["batch"] = "another"
    with pytest.raises(ValueError, match="another"):
        load(saved, cells)
    del cells.obs["batch"]
    with pytest.raises(KeyError, match=r"reads adata.obs\['batch'\], which adata lacks"):
        load(saved, cells)


# Pickles


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize("call", [load, SCDTL.load_registry, SCDTL.view_setup_args])
def test_a_pickle_is_refused_and_runs_nothing(name, call, tmp_path):
    sprung = tmp_path / "sprung"
    torch.save({"attr_dict": Trap(sprung)}, tmp_path / name)
    with pytest.raises(ValueError, match="is a pickle" if name == "model.pt" else "not a whole"):
        call(tmp_path)
    assert not sprung.exists()
    torch.load(shutil.copy(tmp_path / name, tmp_path / "copy"), weights_only=False)
    assert sprung.exists()


def test_a_pickle_beside_a_model_is_not_looked_at(folder, small_model):
    (folder / "model.pt").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert np.array_equal(imputed(load(folder), toy(n_batches=2)), imputed(small_model))


def test_models_of_old_versions_of_scvi_tools_are_not_converted(tmp_path):
    with pytest.raises(NotImplementedError, match="No SCDTL was ever saved"):
        SCDTL.convert_legacy_save(tmp_path, tmp_path / "new")
    with pytest.raises(FileNotFoundError, match="no model was saved there"):
        load(tmp_path)


# Files that are damaged, foreign, or made to harm


def test_files_of_another_kind_are_refused(saved, tmp_path, toy_weights_file):
    with pytest.raises(ValueError, match="holds a SCDTL, not a BulkDAE: load it with SCDTL.load"):
        load(saved, False, BulkDAE)
    shutil.copy(toy_weights_file, file_of(tmp_path))
    with pytest.raises(ValueError, match="not a scdtl model"):
        load(tmp_path)
    file_of(tmp_path).write_bytes(b"")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load(tmp_path)


def test_a_file_of_a_later_version_asks_for_an_update(folder):
    rewrite(folder, lambda header, tensors: header.update(schema=3))
    with pytest.raises(ValueError, match="schema 3, .* reads schema 1 and 2: update scdtl"):
        load(folder)


def set_in(*path, to):
    def edit(header, tensors):
        place = header
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_in("parameters", "n_hidden", to=9), "size mismatch for dae"),
        (set_in("parameters", "colour", to=1), "colour"),
        (lambda header, tensors: header.pop("genes"), "does not fit: KeyError"),
        (lambda header, tensors: tensors.pop("module.log_mean"), "does not fit: RuntimeError"),
        (lambda header, tensors: tensors.pop("module.co_expression.own"), "RuntimeError"),
    ],
)
def test_a_file_whose_parts_do_not_belong_together_is_refused(edit, message, folder):
    rewrite(folder, edit)
    with pytest.raises(
        ValueError, match=f"(?s){file_of(folder)}.*{message}.*Nothing of it is used"
    ):
        load(folder)


def flip(content, generator, header_end):
    end = len(content) if generator.random() < 0.3 else header_end
    content[generator.integers(end)] ^= 1 << generator.integers(8)


def truncate(content, generator, header_end):
    del content[generator.integers(len(content)) :]


def insert(content, generator, header_end):
    place = generator.integers(header_end if generator.random() < 0.5 else len(content))
    content[place:place] = generator.bytes(generator.integers(1, 20))


def delete(content, generator, header_end):
    place = generator.integers(header_end if generator.random() < 0.5 else len(content))
    del content[place : place + generator.integers(1, 20)]


def edit_header(content, generator, header_end):
    """Another digit, letter or bracket for one of the same kind: the header stays JSON."""
    kinds = [b"0123456789", b"abcdefghijklmnopqrstuvwxyz", b"FIUB", b"[]{}", b'":,']
    places = [i for i in range(8, header_end) if any(content[i] in kind for kind in kinds)]
    place = generator.choice(places)
    kind = next(kind for kind in kinds if content[place] in kind)
    content[place] = kind[generator.integers(len(kind))]


@contextmanager
def little_memory():
    """Leave the process 256 MB more than it has, where that can be said."""
    if sys.platform != "linux":
        yield
        return
    import resource

    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + 2**28, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("damage", [flip, truncate, insert, delete, edit_header])
def test_any_damage_is_found_or_harmless(damage, folder):
    path = file_of(folder)
    whole = path.read_bytes()
    header_end = 8 + int.from_bytes(whole[:8], "little")
    signature = contents(load(folder))[0]
    generator = np.random.default_rng(0)
    messages = []
    with little_memory():
        for _ in range(200):
            content = bytearray(whole)
            damage(content, generator, header_end)
            path.write_bytes(content)
            try:
                model = load(folder)
            except ValueError as error:
                messages.append(str(error))
            else:
                assert contents(model)[0] == signature
    assert all(message.startswith(str(path)) for message in messages)
    assert len(messages) > 150


# Files of released versions


def old_bulk(expected, names):
    """The bulk samples that the files of version 0.1 were made from."""
    return anndata.AnnData(
        expected["bulk"],
        obs=pd.DataFrame({"study": expected["study"]}, index=[f"s{i}" for i in range(30)]),
        var=pd.DataFrame(index=names),
    )


def test_models_of_version_0_1_load_and_say_what_they_said():
    expected = np.load(OLD / "expected.npz", allow_pickle=False)
    names = load(OLD / "scdtl").get_var_names()
    cells = anndata.AnnData(
        expected["counts"],
        obs=pd.DataFrame({"batch": expected["batch"]}, index=[f"c{i}" for i in range(60)]),
        var=pd.DataFrame(index=names),
    )
    model = load(OLD / "scdtl", cells)
    np.testing.assert_allclose(imputed(model), expected["imputed"], rtol=1e-4, atol=1e-5)
    assert np.array_equal(model.trusted_genes, expected["trusted"])
    assert model.transfer_["n_genes_matched"] == 40
    assert not model.transfer_["dropped"]
    assert len(model.history["train_loss"]) > 1

    samples = old_bulk(expected, names)
    bulk_model = load(OLD / "bulk", cls=BulkDAE)
    assert bulk_model.is_trained
    np.testing.assert_allclose(
        imputed(bulk_model, samples), expected["bulk_imputed"], rtol=1e-4, atol=1e-3
    )


def test_a_model_of_version_0_1_with_more_attributes_loads_without_them(tmp_path):
    folder = Path(shutil.copytree(OLD / "scdtl", tmp_path / "model"))

    def add(header, tensors):
        header["attributes"]["notes_"] = {"$array": ["notes_", "float32"]}
        tensors["notes_"] = np.zeros(3, np.float32)

    rewrite(folder, add)
    assert not hasattr(load(folder), "notes_")


def test_weights_of_version_0_1_load_and_start_a_model(adata):
    weights = load_weights(OLD / "weights.safetensors")
    expected = np.load(OLD / "expected.npz", allow_pickle=False)
    bulk = old_bulk(expected, load(OLD / "bulk", cls=BulkDAE).get_var_names())
    of_model = load(OLD / "bulk", bulk, cls=BulkDAE).to_weights()
    assert weights.name == "old"
    assert weights.genes == of_model.genes
    assert weights.tensors.keys() == of_model.tensors.keys()
    assert weights.n_components == 0
    for name, tensor in weights.tensors.items():
        if name in ("latents", "co_expression"):  # pseudo-cells are drawn; 0.1 had no components
            continue
        np.testing.assert_allclose(tensor, of_model.tensors[name], rtol=2e-3, atol=1e-6)
    SCDTL.setup_anndata(adata)
    assert SCDTL.from_bulk_model(weights, adata).transfer_["n_genes_matched"] == 40


def test_a_bulk_model_without_its_data_says_that_it_can_not_be_exported(tmp_path):
    model = load(OLD / "bulk", cls=BulkDAE)
    with pytest.raises(ValueError, match="load the model with"):
        model.export(tmp_path / "weights.safetensors")


# scvi-tools' checkpoints


@pytest.mark.parametrize("option", ["load_best_on_end", "check_nan_gradients"])
@pytest.mark.parametrize(("cls", "data"), [(SCDTL, toy), (BulkDAE, toy_bulk)])
def test_checkpoints_that_open_a_pickle_are_refused_before_training(cls, data, option, tmp_path):
    adata = data()
    cls.setup_anndata(adata)
    model = cls(adata)
    callback = SaveCheckpoint(tmp_path, monitor="validation_loss", **{option: True})
    with pytest.raises(ValueError, match="training ends on the best weights anyway"):
        model.train(max_epochs=1, callbacks=[callback], enable_checkpointing=True)
    assert not model.is_trained_
    assert not list(tmp_path.iterdir())


def test_checkpoints_load_as_models(adata, train_scdtl, tmp_path):
    callback = SaveCheckpoint(str(tmp_path), monitor="validation_loss")
    options = {"callbacks": [callback], "enable_checkpointing": True, "check_val_every_n_epoch": 1}
    model = train_scdtl(adata, max_epochs=3, **options)
    assert not list(tmp_path.glob("**/*.pt"))
    loaded = load(callback.best_model_path, adata)
    assert loaded.get_imputed_expression(return_numpy=True).shape == adata.shape
    assert np.array_equal(loaded.gene_keys_, model.gene_keys_)
