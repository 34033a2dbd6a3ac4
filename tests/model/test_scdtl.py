"""Tests of SCDTL: the verbs of an scvi-tools model."""

from __future__ import annotations

import copy

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from scipy import sparse

from scdtl import SCDTL
from scdtl._random import local_seed
from scdtl.datasets import toy
from scdtl.metrics import poisson_score
from scdtl.train._held_out import HeldOutSplitter


def imputed(model, **options):
    return model.get_imputed_expression(return_numpy=True, **options)


# Setting up


def test_setup_takes_a_layer_and_a_batch(adata, train_scdtl):
    expected = imputed(train_scdtl(adata.copy(), batch_key="batch", max_epochs=2))
    adata.layers["counts"] = adata.X
    adata.X = np.log1p(adata.X.toarray())
    model = train_scdtl(adata, layer="counts", batch_key="batch", max_epochs=2)
    assert model.summary_stats.n_batch == 2
    assert np.array_equal(imputed(model), expected)


def test_model_never_writes_into_the_data_beyond_its_registration(adata):
    SCDTL.setup_anndata(adata)
    slots = {slot: set(getattr(adata, slot)) for slot in ("obs", "var", "uns", "obsm", "layers")}
    model = SCDTL(adata)
    model.train(max_epochs=2, enable_progress_bar=False)
    model.get_imputed_expression()
    model.get_latent_representation()
    for slot, names in slots.items():
        assert set(getattr(adata, slot)) == names


def test_repr_tells_architecture_and_training(toy_model, adata, capsys):
    SCDTL.setup_anndata(adata)
    for model, n_latent, status in (
        (toy_model, 32, "Status: Trained"),
        (SCDTL(adata, n_latent=5), 5, "Status: Not Trained"),
    ):
        repr(model)  # scvi-tools prints it
        printed = capsys.readouterr().out
        assert f"n_latent: {n_latent}" in printed
        assert status in printed.title()


def test_an_untrained_model_does_not_impute(adata):
    SCDTL.setup_anndata(adata)
    with pytest.raises(RuntimeError, match="train"):
        SCDTL(adata).get_imputed_expression()


# Training


def test_history_has_training_and_validation(toy_model):
    for name in ("train_loss", "validation_loss"):
        losses = toy_model.history[name][name].to_numpy(dtype=float)
        assert np.isfinite(losses).all()
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("early_stopping", [True, False])
def test_early_stopping_ends_before_the_last_epoch(train_scdtl, early_stopping):
    options = {"max_epochs": 200, "plan_kwargs": {"lr": 5e-3}}  # so few cells are soon known
    model = train_scdtl(toy(), early_stopping=early_stopping, **options)
    n_epochs = len(model.history["train_loss"])
    assert n_epochs < 200 if early_stopping else n_epochs == 200


class DropoutWatch(Callback):
    """Notes whether the module drops out in training and validation."""

    def __init__(self):
        self.in_training, self.in_validation = [], []

    def on_train_batch_start(self, trainer, plan, batch, batch_idx):
        self.in_training.append(plan.module.training and plan.module.dae.training)

    def on_validation_batch_start(self, trainer, plan, batch, batch_idx, dataloader_idx=0):
        self.in_validation.append(plan.module.training)


def test_training_twice_goes_on_with_dropout(adata, train_scdtl):
    model = train_scdtl(adata, max_epochs=3)
    first = imputed(model)
    watch = DropoutWatch()
    model.train(
        max_epochs=4, callbacks=[watch], check_val_every_n_epoch=2, enable_progress_bar=False
    )
    assert watch.in_training == [True] * 4
    assert watch.in_validation
    assert not any(watch.in_validation)
    assert len(model.history["train_loss"]) == 7
    assert not model.module.training
    assert not np.array_equal(imputed(model), first)


def test_a_loaded_model_trains_with_dropout(toy_model, adata, tmp_path):
    toy_model.save(tmp_path / "model")
    model = SCDTL.load(tmp_path / "model", adata, accelerator="cpu")
    watch = DropoutWatch()
    model.train(max_epochs=2, callbacks=[watch], enable_progress_bar=False)
    assert watch.in_training == [True] * 2


def test_molecules_held_out_stay_so_when_training_goes_on(
    adata, train_scdtl, tmp_path, monkeypatch
):
    splits = []

    class Recorded(HeldOutSplitter):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            splits.append(self)

    monkeypatch.setattr(SCDTL, "_data_splitter_cls", Recorded)
    model = train_scdtl(adata, max_epochs=2)
    model.save(tmp_path / "model")
    model.train(max_epochs=1, enable_progress_bar=False)
    shuffled = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    loaded = SCDTL.load(tmp_path / "model", shuffled, accelerator="cpu")
    loaded.train(max_epochs=1, enable_progress_bar=False)
    first, *later = (split.held_out.toarray() for split in splits)
    assert first.any()
    assert len(later) == 2
    assert all(np.array_equal(first, held_out) for held_out in later)
    assert not np.array_equal(splits[0].train_idx, splits[2].train_idx)


def test_training_after_pure_transfer_is_training(adata, toy_weights_file, train_scdtl):
    model = train_scdtl(adata, bulk=toy_weights_file, max_epochs=0)
    with local_seed(0):
        model.train(max_epochs=60, enable_progress_bar=False)
    assert len(model.history["train_loss"]) > 1
    direct = train_scdtl(toy(n_batches=2), bulk=toy_weights_file, max_epochs=60)
    assert float(model.module.log_ratio_scale) == pytest.approx(
        float(direct.module.log_ratio_scale), abs=0.1
    )
    assert model.held_out_["deviance_explained"] == pytest.approx(
        direct.held_out_["deviance_explained"], abs=0.05
    )


def test_held_out_score_is_that_of_the_genes_in_the_datas_order(adata, train_scdtl):
    counts = adata.X.toarray()
    counts[:, 11] = 0
    adata.X = sparse.csr_matrix(counts)
    model = train_scdtl(adata, max_epochs=2)
    trust = model.held_out_["gene_deviance_explained"]
    assert trust.shape == (40,)
    assert np.isnan(trust[11])
    assert np.isfinite(trust[counts.sum(0) > 300]).all()


# Saving


def test_a_saved_model_imputes_the_same(toy_model, tmp_path):
    toy_model.save(tmp_path / "model")
    model = SCDTL.load(tmp_path / "model", toy(n_batches=2))
    assert np.array_equal(imputed(model), imputed(toy_model))
    assert np.array_equal(model.get_latent_representation(), toy_model.get_latent_representation())
    assert model.held_out_["deviance_explained"] == toy_model.held_out_["deviance_explained"]
    assert len(model.history["train_loss"]) == len(toy_model.history["train_loss"])


def test_a_model_loads_without_its_data(toy_model, tmp_path):
    toy_model.save(tmp_path / "model")
    model = SCDTL.load(tmp_path / "model", adata=False)
    assert np.array_equal(imputed(model, adata=toy(n_batches=2)), imputed(toy_model))


def test_a_model_saved_with_its_data_needs_nothing_else(toy_model, tmp_path):
    toy_model.save(tmp_path / "model", save_anndata=True)
    model = SCDTL.load(tmp_path / "model")
    assert np.array_equal(imputed(model), imputed(toy_model))


def test_what_came_from_bulk_is_saved(adata, toy_weights_file, train_scdtl, tmp_path):
    model = train_scdtl(adata, bulk=toy_weights_file, max_epochs=2)
    model.save(tmp_path / "model")
    again = SCDTL.load(tmp_path / "model", adata)
    assert again.transfer_ == model.transfer_
    assert again.in_bulk_.all()
    assert np.array_equal(imputed(again), imputed(model))


# Imputing


def test_result_is_a_labelled_table_by_default(toy_model):
    table = toy_model.get_imputed_expression()
    assert isinstance(table, pd.DataFrame)
    assert table.index.equals(toy_model.adata.obs_names)
    assert list(table.columns) == list(toy_model.adata.var_names)
    assert (table.dtypes == np.float32).all()
    assert np.array_equal(table.to_numpy(), imputed(toy_model))


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_blocks_do_not_change_the_numbers(toy_model, batch_size):
    np.testing.assert_allclose(
        imputed(toy_model, batch_size=batch_size), imputed(toy_model), rtol=1e-4
    )


def test_cells_come_in_the_order_asked_for(toy_model):
    cells = [41, 3, 17, 3]
    everything = toy_model.get_imputed_expression()
    for batch_size in (3, None):
        table = toy_model.get_imputed_expression(indices=cells, batch_size=batch_size)
        assert list(table.index) == list(everything.index[cells])
        np.testing.assert_allclose(table, everything.iloc[cells], rtol=1e-4)
    latent = toy_model.get_latent_representation(indices=cells)
    np.testing.assert_allclose(
        latent, toy_model.get_latent_representation()[cells], rtol=1e-3, atol=1e-5
    )


def test_cells_may_be_given_as_a_mask(toy_model):
    mask = np.arange(60) % 7 == 2
    table = toy_model.get_imputed_expression(indices=mask)
    assert list(table.index) == list(toy_model.adata.obs_names[mask])
    np.testing.assert_allclose(table, imputed(toy_model)[mask], rtol=1e-4)
    assert len(toy_model.get_latent_representation(indices=mask)) == mask.sum()


def test_no_cells_are_allowed(toy_model):
    assert toy_model.get_imputed_expression(indices=[]).shape == (0, 40)
    assert toy_model.get_latent_representation(indices=[]).shape == (0, 32)


def test_genes_come_in_the_order_asked_for(toy_model):
    genes = ["GENE30", "GENE4", "GENE5"]
    table = toy_model.get_imputed_expression(gene_list=genes)
    assert list(table.columns) == genes
    assert np.array_equal(table, imputed(toy_model)[:, [30, 4, 5]])


def test_library_size_belongs_to_the_cell_asked_for(toy_model):
    sizes, cells = np.array([100.0, 200.0, 400.0]), [5, 50, 20]
    values = imputed(toy_model, indices=cells, scale="counts", library_size=sizes, batch_size=2)
    np.testing.assert_allclose(values.sum(1), sizes, rtol=1e-4)


def test_standard_deviation_comes_beside_the_mean(toy_model):
    mean, std = toy_model.get_imputed_expression(return_std=True)
    assert std.index.equals(mean.index)
    assert std.columns.equals(mean.columns)
    assert (std.to_numpy() >= 0).all()


def test_get_normalized_expression_is_the_same(toy_model):
    assert np.array_equal(
        toy_model.get_normalized_expression(return_numpy=True), imputed(toy_model)
    )


def test_other_cells_of_the_same_genes_are_imputed(toy_model):
    others = toy(n_obs=25, n_batches=2, seed=1)
    values = imputed(toy_model, adata=others, scale="counts")
    np.testing.assert_allclose(values.sum(1), np.asarray(others.X.sum(1)).ravel(), rtol=1e-4)
    assert toy_model.get_latent_representation(others).shape == (25, 32)


def in_genes(adata, columns):
    """The same cells with other genes, and notes of no registration."""
    return anndata.AnnData(
        adata.X[:, columns], obs=adata.obs[["batch"]], var=adata.var.iloc[columns][[]]
    )


def test_genes_in_another_order_give_the_same_numbers_in_that_order(toy_model, adata):
    order = np.random.default_rng(0).permutation(adata.n_vars)
    other = in_genes(adata, order)
    result = toy_model.get_imputed_expression(other)
    assert list(result.columns) == list(other.var_names)
    expected = toy_model.get_imputed_expression(adata)[result.columns]
    pd.testing.assert_frame_equal(result, expected)
    assert np.array_equal(
        toy_model.get_latent_representation(other), toy_model.get_latent_representation(adata)
    )


def test_missing_genes_are_masked(toy_model, adata):
    there = np.arange(5, 40)
    result = toy_model.get_imputed_expression(in_genes(adata, there), scale="counts")
    assert list(result.columns) == list(adata.var_names[there])
    depth = adata.X[:, there].toarray().sum(1)
    np.testing.assert_allclose(result.sum(axis=1), depth, rtol=1e-4)
    # By hand: deviations of missing genes are 0, and they are left out of the softmax.
    module, place = copy.deepcopy(toy_model.module).cpu(), toy_model._gene_position()[there]
    log_mean = np.full(module.log_mean.shape, -np.inf)
    known = module.log_mean.numpy()[:, place].astype(float)
    log_mean[:, place] = known - np.log(np.exp(known).sum(1, keepdims=True))
    batch = adata.obs["batch"].cat.codes.to_numpy()
    counts = np.zeros(adata.shape)
    counts[:, place] = adata.X[:, there].toarray()
    deviation = np.log1p(1e4 * counts / depth[:, None]) - np.log1p(1e4 * np.exp(log_mean[batch]))
    codes = torch.tensor(batch, dtype=torch.long)
    with torch.inference_mode():
        shown = torch.tensor(deviation, dtype=torch.float32)
        unet, context = module.unet(shown)
        latent, by_co_expression = module.dae.encoder(shown), torch.zeros_like(shown)  # no bulk
        generated = module.generative(latent, unet, context, by_co_expression, codes)
        logits = generated["log_ratios"].double().numpy()
    mu = np.exp(log_mean[batch] + float(module.log_ratio_scale) * logits)
    mu *= depth[:, None] / mu.sum(1, keepdims=True)
    phi = module.noise.dispersion.numpy()
    rate = mu * (1 + phi * counts) / (1 + phi * mu)
    rate *= depth[:, None] / rate.sum(1, keepdims=True)
    np.testing.assert_allclose(result, rate[:, place], rtol=1e-3, atol=1e-5)


def test_a_gene_that_the_model_does_not_know_is_left_out(toy_model, adata, caplog):
    wider = anndata.concat(
        [in_genes(adata, np.arange(40)), anndata.AnnData(np.full((60, 1), 99.0), adata.obs[[]])],
        axis=1,
    )
    wider.obs = adata.obs[["batch"]].copy()
    wider.var_names = [*adata.var_names, "NEW1"]
    result = toy_model.get_imputed_expression(wider)
    assert "1 genes of adata are unknown" in caplog.text
    pd.testing.assert_frame_equal(result, toy_model.get_imputed_expression(adata))


def test_foreign_genes_are_refused(toy_model, adata):
    other = in_genes(adata, np.arange(40))
    other.var_names = [f"ENSG{i}" for i in range(40)]
    with pytest.raises(ValueError, match="0 of the 40 genes"):
        toy_model.get_imputed_expression(other)
    few = in_genes(adata, np.arange(5, 40))
    with pytest.raises(ValueError, match="lacks can't be imputed: GENE0"):
        toy_model.get_imputed_expression(few, gene_list=["GENE7", "GENE0"])
    assert "_scvi_uuid" not in few.uns


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "sqrt"}, "scale='sqrt'"),
        ({"replace": "none"}, "replace='none'"),
        ({"gene_list": ["GENE1", "TP53"]}, "TP53"),
        ({"transform_batch": "batch7"}, "'batch7' is not one of batch0, batch1"),
        ({"scale": "expected_log1p", "return_std": True}, "standard deviation"),
        ({"replace": "zeros", "transform_batch": "batch0"}, "replace='zeros'"),
        ({"replace": "zeros", "library_size": 1e4}, "replace='zeros'"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(toy_model, options, message):
    with pytest.raises(ValueError, match=message):
        toy_model.get_imputed_expression(**options)


@pytest.mark.parametrize("n_latent", [32, 6])
def test_latent_has_one_row_per_cell(adata, n_latent):
    SCDTL.setup_anndata(adata)
    model = SCDTL(adata, n_latent=n_latent)
    model.train(max_epochs=2, enable_progress_bar=False)
    latent = model.get_latent_representation()
    assert latent.shape == (60, n_latent)
    assert latent.dtype == np.float32
    assert np.isfinite(latent).all()


# Batches

PLANTED = np.arange(0, 40, 4)


@pytest.fixture(scope="module")
def planted():
    """A toy in whose batch b ten genes have four times as many molecules, and a held-out part."""
    adata = toy(n_obs=120)
    in_b = np.arange(120) % 2 == 1
    rates = adata.layers["rates"].astype(float)
    rates[np.ix_(in_b, PLANTED)] *= 4
    rng = np.random.default_rng(0)
    adata.X = sparse.csr_matrix(rng.poisson(0.9 * rates), dtype=np.float32)
    adata.obs["batch"] = np.where(in_b, "b", "a")
    return adata, in_b, rng.poisson(0.1 * rates)


@pytest.fixture(scope="module")
def planted_model(planted, train_scdtl):
    return train_scdtl(planted[0].copy(), batch_key="batch")


def planted_share(values):
    """Molecules of the planted genes per molecule of the others."""
    others = np.delete(values, PLANTED, axis=1)
    return values[:, PLANTED].sum() / others.sum()


def test_a_planted_batch_effect_is_kept_or_taken_away_as_asked(planted, planted_model):
    _, in_b, _ = planted
    own = imputed(planted_model, scale="counts")
    of_a = planted_share(own[~in_b])
    assert planted_share(own[in_b]) / of_a == pytest.approx(4, rel=0.2)
    as_a = imputed(planted_model, scale="counts", indices=in_b, transform_batch="a")
    assert planted_share(as_a) / of_a == pytest.approx(1, rel=0.2)
    as_b = imputed(planted_model, scale="counts", indices=~in_b, transform_batch="b")
    assert planted_share(as_b) / of_a == pytest.approx(4, rel=0.2)


def test_each_planted_gene_is_transformed_and_the_others_are_not(planted, planted_model):
    _, in_b, _ = planted
    own = imputed(planted_model, scale="normalized", indices=in_b)
    as_a = imputed(planted_model, scale="normalized", indices=in_b, transform_batch="a")
    ratio = own.mean(0) / as_a.mean(0)
    ratio /= np.median(np.delete(ratio, PLANTED))
    assert (ratio[PLANTED] > 2).all()
    assert (np.delete(ratio, PLANTED) < 2).all()


def test_a_batch_transformed_to_itself_stays(planted, planted_model):
    _, in_b, _ = planted
    np.testing.assert_allclose(
        imputed(planted_model, indices=in_b, transform_batch="b"),
        imputed(planted_model, indices=in_b),
        rtol=1e-4,
    )


def test_knowing_the_batch_predicts_no_worse(planted, planted_model, train_scdtl):
    adata, _, held_out = planted
    without = train_scdtl(adata.copy())
    scores = [
        poisson_score(held_out, imputed(model, scale="counts"), adata.X)
        for model in (planted_model, without)
    ]
    assert scores[0] >= scores[1] - 0.01
