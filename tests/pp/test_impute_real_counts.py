"""Tests of impute on real counts: better than what it replaces, and ready for scanpy."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc

from scdtl.metrics import gene_deviance_explained, poisson_score
from scdtl.pp import impute


def mean_profile(observed):
    profile = np.asarray(observed.X.sum(0)) + 0.5
    return np.repeat(profile / profile.sum(), observed.n_obs, axis=0)


def poisson_loss(held_out, rates):
    """Mean negative log-likelihood, each cell at its number of held-out molecules."""
    rates = rates * (held_out.sum(1) / rates.sum(1))[:, None]
    return (rates - held_out * np.log(rates + 1e-6)).mean()


def test_it_predicts_unseen_molecules_better_than_counts_and_mean_profile(
    pbmc_split, imputed_pbmc
):
    observed, held_out = pbmc_split
    rates = np.expm1(imputed_pbmc.layers["scdtl"])
    profile = mean_profile(observed)
    loss, of_profile, of_counts = (
        poisson_loss(held_out, x) for x in (rates, profile, observed.X.toarray())
    )
    assert loss < of_profile < of_counts
    observed_counts = observed.X
    score = poisson_score(held_out, rates, observed_counts)
    assert score > poisson_score(held_out, profile, observed_counts) + 0.05
    assert np.nanmean(gene_deviance_explained(held_out, rates, observed_counts)) > 0.08


def test_the_score_in_uns_tells_the_truth(pbmc_split, imputed_pbmc):
    observed, held_out = pbmc_split
    rates = np.expm1(imputed_pbmc.layers["scdtl"])

    def deviance(rates):
        rates = rates * (held_out.sum(1) / rates.sum(1))[:, None]
        logs = np.log(np.where(held_out > 0, held_out / rates, 1))
        return (held_out * logs - held_out + rates).sum()

    explained = 1 - deviance(rates) / deviance(mean_profile(observed))
    told = imputed_pbmc.uns["scdtl"]["held_out_deviance_explained"]
    assert told == pytest.approx(explained, abs=0.03)


def test_trust_tells_which_genes_are_predicted(pbmc_split, imputed_pbmc):
    observed, held_out = pbmc_split
    rates = np.expm1(imputed_pbmc.layers["scdtl"])
    explained = gene_deviance_explained(held_out, rates, observed.X)
    trust = imputed_pbmc.var["scdtl_trust"].to_numpy()
    both = np.isfinite(trust) & np.isfinite(explained)
    assert both.sum() > 100
    assert np.corrcoef(trust[both], explained[both])[0, 1] > 0.7


@pytest.mark.parametrize("bulk", ["human", None])
def test_without_training_it_is_no_worse_than_the_mean_profile(pbmc_split, bulk):
    observed, held_out = pbmc_split
    result = impute(observed, bulk=bulk, max_epochs=0, copy=True)
    rates = np.expm1(result.layers["scdtl"])
    assert poisson_loss(held_out, rates) < poisson_loss(held_out, mean_profile(observed))
    assert not result.uns["scdtl"]["history"]


def test_most_real_genes_are_known_to_the_human_weights(imputed_pbmc):
    assert imputed_pbmc.var["scdtl_in_bulk"].mean() > 0.8
    weights = imputed_pbmc.uns["scdtl"]["weights"]
    assert weights["name"] == "human"
    assert weights["n_genes_matched"] == imputed_pbmc.var["scdtl_in_bulk"].sum()


def test_scanpy_goes_on_from_the_layer(imputed_pbmc):
    adata = imputed_pbmc.copy()
    sc.pp.pca(adata, layer="scdtl")
    sc.pp.neighbors(adata)
    sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)
    sc.tl.umap(adata)
    assert adata.obsm["X_umap"].shape == (700, 2)
    assert 3 <= adata.obs["leiden"].nunique() <= 30
