"""Tests of BulkDAE, and of what SCDTL takes over from it."""

from __future__ import annotations

import gc
import json
import logging
import weakref

import anndata
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from scipy import sparse

from scdtl import SCDTL, BulkDAE
from scdtl.datasets import toy, toy_bulk
from scdtl.pretrained import load_weights


def train_bulk(bulk, max_epochs=1, n_episodes=4, **setup):
    BulkDAE.setup_anndata(bulk, **setup)
    model = BulkDAE(bulk, n_hidden=8, n_latent=3)
    model.train(max_epochs=max_epochs, n_episodes=n_episodes, enable_progress_bar=False)
    return model


# Input


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="2 bulk samples are too few"):
        BulkDAE.setup_anndata(toy_bulk(n_samples=2))


def test_few_samples_pass_with_a_note(caplog):
    with caplog.at_level(logging.WARNING, logger="scdtl"):
        train_bulk(toy_bulk(n_samples=6))
    assert "only 6 bulk samples" in caplog.text


@pytest.mark.parametrize("form", [np.array, sparse.csr_matrix], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (np.log1p, "looks like logarithms"),
        (lambda x: x - 1, "not negative"),
        (lambda x: np.where(x == x.max(), np.inf, x), "finite"),
    ],
    ids=["logged", "negative", "infinite"],
)
def test_values_that_are_no_linear_expression_are_refused(change, message, form):
    bulk = toy_bulk()
    bulk.X = form(change(bulk.X.toarray()))
    with pytest.raises(ValueError, match=message):
        BulkDAE.setup_anndata(bulk)
    assert not bulk.uns


def test_a_layer_and_genes_that_a_study_lacks_are_allowed():
    bulk = toy_bulk()
    expression = bulk.X.toarray()
    expression[(bulk.obs["study"] == "study0").to_numpy(), 7] = np.nan
    bulk.layers["fpkm"] = expression
    bulk.X = np.log1p(bulk.X.toarray())
    weights = train_bulk(bulk, layer="fpkm", study_key="study").to_weights()
    assert all(np.isfinite(value).all() for value in weights.tensors.values())


# Training


def test_loss_falls_in_training_and_validation():
    model = train_bulk(toy_bulk(), max_epochs=8, n_episodes=25, study_key="study")
    losses = {name: frame[name].to_numpy(dtype=float) for name, frame in model.history.items()}
    assert len(losses["train_loss"]) == len(losses["validation_loss"]) == 8
    assert losses["validation_loss"][-1] < losses["validation_loss"][0]
    assert losses["train_loss"][4:].mean() < losses["train_loss"][:4].mean()


def test_repr_tells_architecture_and_training(toy_bulk_model, capsys):
    repr(toy_bulk_model)  # scvi-tools prints it
    printed = capsys.readouterr().out
    assert "BulkDAE with n_hidden: 16, n_latent: 4" in printed
    assert "Status: Trained" in printed.title()


def test_mean_profile_is_that_of_the_samples(toy_bulk_model):
    proportions = toy_bulk().X.toarray()
    proportions /= proportions.sum(1, keepdims=True)
    np.testing.assert_allclose(
        toy_bulk_model.module.log_mean.exp().cpu(), proportions.mean(0), rtol=1e-4
    )


def test_weights_of_an_untrained_model_come_with_a_warning():
    bulk = toy_bulk()
    BulkDAE.setup_anndata(bulk)
    with pytest.warns(UserWarning, match="untrained model"):
        BulkDAE(bulk).to_weights()


# Saving and exporting


def assert_same_weights(first, second):
    assert first.tensors.keys() == second.tensors.keys()
    for name, value in first.tensors.items():
        np.testing.assert_array_equal(second.tensors[name], value, err_msg=name)


def test_a_saved_model_gives_the_same_weights(toy_bulk_model, tmp_path):
    toy_bulk_model.save(tmp_path / "model")
    again = BulkDAE.load(tmp_path / "model", toy_bulk())
    assert_same_weights(again.to_weights(), toy_bulk_model.to_weights())
    assert len(again.history["train_loss"]) == 2


EIGHT_BIT = {"encoder.genes.weight": 0, "decoder.genes.weight": 1, "co_expression": 1}
"""Tensors that files hold in 8 bits, and the axis along which a gene's numbers lie."""


def assert_as_exact_as_a_file(first, second):
    """Half a step of 8 bits apart at most, or as half precision is."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        value, other = np.asarray(value), np.asarray(second[name])
        if name in EIGHT_BIT:
            step = np.abs(value).max(EIGHT_BIT[name], keepdims=True, initial=0) / 127
            assert (np.abs(value - other) <= 0.501 * step).all(), name
        else:
            np.testing.assert_allclose(other, value, rtol=1e-3, atol=1e-3, err_msg=name)


def test_an_exported_file_holds_the_weights_in_8_and_16_bits(toy_bulk_model, tmp_path):
    path = tmp_path / "bulk.safetensors"
    sha256 = toy_bulk_model.export(path, name="mine", species="toy")
    loaded, given = load_weights(path), toy_bulk_model.to_weights()
    assert_as_exact_as_a_file(given.tensors, loaded.tensors)
    assert loaded.sha256 == sha256
    assert loaded.genes == list(toy_bulk().var_names)
    assert loaded.ensembl_ids == [""] * 40
    assert loaded.architecture == {"n_hidden": 16, "n_latent": 4}
    assert loaded.provenance == {"n_samples": 30, "name": "mine", "species": "toy"}


def test_ensembl_ids_go_along():
    bulk = toy_bulk()
    bulk.var["ensembl_id"] = [f"ENSG{number:011d}" for number in range(40)]
    assert train_bulk(bulk).to_weights().ensembl_ids == list(bulk.var["ensembl_id"])


def test_latents_are_spread_and_genes_ordered(toy_bulk_model):
    tensors = toy_bulk_model.to_weights().tensors
    assert tensors["latents"].shape == (256, 4)
    assert (tensors["latents"].std(0) > 0).all()
    assert np.array_equal(np.sort(tensors["gene_order"]), np.arange(40))


# Transfer


@pytest.fixture
def cells():
    """30 genes that bulk knows, shuffled among 10 that it does not."""
    adata = toy()
    names = np.array([f"GENE{number}" for number in range(30)] + [f"NEW{n}" for n in range(10)])
    adata.var_names = np.random.default_rng(0).permutation(names)
    SCDTL.setup_anndata(adata)
    return adata


def test_weights_of_known_genes_are_those_of_the_file_and_others_zero(cells, toy_weights_file):
    model = SCDTL.from_bulk_model(toy_weights_file, cells)
    file = load_file(toy_weights_file)
    for key in EIGHT_BIT:
        file[key] = file[key] * file.pop(f"{key}.scale")
    with safe_open(toy_weights_file, framework="numpy") as opened:
        in_file = json.loads(opened.metadata()["scdtl"])["genes"]
    state = {name: value.numpy() for name, value in model.module.dae.state_dict().items()}
    state["co_expression"] = model.module.co_expression.loadings.numpy()
    names = cells.var_names[model.module.gene_order.numpy()]  # as the module has them
    for column, name in enumerate(names):
        found = {
            "encoder.genes.weight": state["encoder.genes.weight"][:, column],
            "decoder.genes.weight": state["decoder.genes.weight"][column],
            "decoder.genes.bias": state["decoder.genes.bias"][column],
            "co_expression": state["co_expression"][column],
        }
        for key, value in found.items():
            if name.startswith("NEW"):
                assert not value.any()
            else:
                row = in_file.index(name)
                expected = file[key][:, row] if key.startswith("encoder") else file[key][row]
                assert np.array_equal(value, expected.astype(np.float32))
    for key in file.keys() & state.keys():
        if "genes" not in key and key != "co_expression":
            assert np.array_equal(state[key], file[key].astype(np.float32))
    assert np.array_equal(model.module.bulk_latents, file["latents"].astype(np.float32))


def test_known_genes_follow_the_order_of_bulk(cells, toy_weights_file):
    model = SCDTL.from_bulk_model(toy_weights_file, cells)
    weights = load_weights(toy_weights_file)
    names = list(cells.var_names[model.module.gene_order.numpy()])
    by_bulk = [weights.genes[gene] for gene in weights.tensors["gene_order"]]
    known = [name for name in names if not name.startswith("NEW")]
    assert known == [name for name in by_bulk if name in set(cells.var_names)]


def test_a_gene_unknown_to_bulk_comes_after_the_gene_it_is_correlated_with(
    cells, toy_weights_file
):
    twins = {"NEW0": "GENE4", "NEW1": "GENE11", "NEW2": "GENE20"}
    counts = cells.X.toarray()
    for new, known in twins.items():
        columns = cells.var_names.get_indexer([new, known])
        counts[:, columns[0]] = 2 * counts[:, columns[1]]
    cells = anndata.AnnData(sparse.csr_matrix(counts), var=cells.var[[]])
    SCDTL.setup_anndata(cells)
    model = SCDTL.from_bulk_model(toy_weights_file, cells)
    names = list(cells.var_names[model.module.gene_order.numpy()])
    for new, known in twins.items():
        between = names[names.index(known) + 1 : names.index(new)]
        assert all(name.startswith("NEW") for name in between)


def test_the_model_tells_what_was_transferred(cells, toy_weights_file):
    model = SCDTL.from_bulk_model(toy_weights_file, cells)
    assert np.array_equal(model.in_bulk_, cells.var_names.str.startswith("GENE"))
    matched_by = model.transfer_.pop("matched_by")
    assert {kind: n for kind, n in matched_by.items() if n} == {"symbol": 30, "unmatched": 10}
    assert model.transfer_ == {
        "name": "toy",
        "sha256": load_weights(toy_weights_file).sha256,
        "n_genes_matched": 30,
        "n_genes": 40,
    }
    assert not model.is_trained


def test_new_genes_are_learned(cells, toy_weights_file):
    model = SCDTL.from_bulk_model(toy_weights_file, cells)
    model.train(max_epochs=2, enable_progress_bar=False)
    new = ~model.in_bulk_[model.module.gene_order.cpu().numpy()]
    assert model.module.dae.encoder.genes.weight[:, new].any(0).all()
    assert model.module.dae.decoder.genes.weight[new].any(1).all()


def test_model_path_and_weights_start_alike(cells, toy_bulk_model, toy_weights_file):
    kinds = [
        toy_bulk_model,
        toy_bulk_model.to_weights(),
        toy_weights_file,
        str(toy_weights_file),
        load_weights(toy_weights_file),
    ]
    modules = [SCDTL.from_bulk_model(bulk, cells).module for bulk in kinds]
    states = [m.dae.state_dict() | {"co_expression": m.co_expression.loadings} for m in modules]
    for state in states[1:]:
        assert_as_exact_as_a_file(states[0], state)


def test_released_weights_are_found_by_name(pbmc_counts):
    adata = pbmc_counts.copy()
    SCDTL.setup_anndata(adata)
    model = SCDTL.from_bulk_model("human", adata)
    assert model.transfer_["name"] == "human"
    assert model.in_bulk_.mean() > 0.8
    assert model.module.dae.encoder.latent.out_features == 32


def test_other_genes_are_refused(toy_weights_file):
    adata = toy()
    adata.var_names = [f"OTHER{number}" for number in range(40)]
    SCDTL.setup_anndata(adata)
    with pytest.raises(ValueError, match="Only 0 of 40"):
        SCDTL.from_bulk_model(toy_weights_file, adata)


def test_fewer_pseudo_cells_than_usual_serve_as_well(cells, toy_bulk_model):
    weights = toy_bulk_model.to_weights()
    weights.tensors["latents"] = weights.tensors["latents"][:100]
    model = SCDTL.from_bulk_model(weights, cells)
    latents = model.module.bulk_latents.numpy()
    assert set(map(tuple, latents)) == set(map(tuple, weights.tensors["latents"]))


# Samples


def test_samples_of_one_kind_share_their_latent(toy_bulk_model):
    latent = toy_bulk_model.get_latent_representation()
    assert latent.shape == (toy_bulk_model.adata.n_obs, 4)
    np.testing.assert_allclose(
        toy_bulk_model.get_latent_representation(indices=[3, 1]), latent[[3, 1]], atol=1e-5
    )


def test_the_unit_of_a_sample_does_not_matter(toy_bulk_model):
    per_million = toy_bulk_model.adata.copy()
    depth = np.asarray(per_million.X.sum(1)).ravel()
    per_million.X = sparse.csr_matrix(sparse.diags(1e6 / depth) @ per_million.X)
    np.testing.assert_allclose(
        toy_bulk_model.get_latent_representation(per_million),
        toy_bulk_model.get_latent_representation(),
        atol=1e-4,
    )


def test_bulk_is_imputed_to_whole_profiles_that_resemble_it():
    bulk = toy_bulk(n_samples=60)
    model = train_bulk(bulk, max_epochs=8, n_episodes=40)
    predicted = model.get_imputed_expression(library_size=1.0)
    np.testing.assert_allclose(predicted.sum(axis=1), 1, rtol=1e-4)
    truth = np.asarray(bulk.X.toarray() if sparse.issparse(bulk.X) else bulk.X)
    truth = truth / truth.sum(1, keepdims=True)
    mean = truth.mean(0)

    def distance(profiles):
        return np.abs(np.log(profiles + 1e-4) - np.log(truth + 1e-4)).mean()

    assert distance(predicted.to_numpy()) < distance(np.broadcast_to(mean, truth.shape))


def test_a_gene_that_a_sample_lacks_is_filled(toy_bulk_model):
    lacking = toy_bulk_model.adata.copy()
    lacking.X = np.array(lacking.X.toarray() if sparse.issparse(lacking.X) else lacking.X)
    lacking.X[:, 0] = np.nan
    whole, filled = (
        toy_bulk_model.get_imputed_expression(query, return_numpy=True)
        for query in (None, lacking)
    )
    assert np.isfinite(filled).all()
    np.testing.assert_allclose(filled, whole, rtol=0.3)


def test_unknown_genes_and_other_orders_are_refused(toy_bulk_model):
    with pytest.raises(ValueError, match="unknown to the model"):
        toy_bulk_model.get_imputed_expression(gene_list=["nothing"])
    with pytest.raises(ValueError, match="another order"):
        toy_bulk_model.get_latent_representation(toy_bulk_model.adata[:, ::-1].copy())


def test_queries_leave_nothing_behind(toy_bulk_model):
    query = toy_bulk()
    before = list(query.obs), list(query.uns)
    toy_bulk_model.get_imputed_expression(query)
    toy_bulk_model.get_latent_representation(query)
    assert (list(query.obs), list(query.uns)) == before
    seen = weakref.ref(query)
    del query
    gc.collect()
    assert seen() is None


def test_a_study_without_the_most_abundant_gene_raises_no_other():
    bulk = toy_bulk()
    bulk.X = bulk.X.toarray()
    bulk.X[:, 0] = 10 * bulk.X[:, 1:].sum(1)
    BulkDAE.setup_anndata(bulk)
    whole = BulkDAE(bulk).module.log_mean.numpy()
    bulk.X[::2, 0] = np.nan
    BulkDAE.setup_anndata(bulk)
    np.testing.assert_allclose(BulkDAE(bulk).module.log_mean.numpy(), whole, atol=0.05)
