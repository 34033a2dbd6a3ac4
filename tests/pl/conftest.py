"""Imputed cells, the model and an evaluation, made once for all figures."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _figures_are_closed():
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("Agg")
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def imputed_and_model(pbmc_counts):
    from scdtl.pp import impute

    adata = pbmc_counts[::4, ::3].copy()
    adata.obs["depth"] = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.obs["odd"] = np.arange(adata.n_obs) % 2 == 1
    model = impute(
        adata,
        bulk=None,
        max_epochs=4,
        verbose=False,
        return_model=True,
        return_dropout=True,
        train_kwargs={"check_val_every_n_epoch": 1},
    )
    return adata, model


@pytest.fixture(scope="session")
def imputed(imputed_and_model):
    """175 real cells × 255 genes after four epochs; not to be changed."""
    return imputed_and_model[0]


@pytest.fixture(scope="session")
def lacking(pbmc_counts):
    """All genes that the data lack and bulk knows, in 175 real cells; not to be changed."""
    from scdtl.pp import impute_unmeasured

    panel = pbmc_counts[::4, ::3].copy()
    return impute_unmeasured(panel, bulk="human", max_epochs=0, verbose=False)


@pytest.fixture(scope="session")
def model(imputed_and_model):
    return imputed_and_model[1]


@pytest.fixture(scope="session")
def evaluation(imputed):
    """Of four methods, one of which has no score, and with a gene far below its mean."""
    import pandas as pd

    from scdtl.tl import Evaluation

    methods = ["observed", "mean profile", "scdtl", "magic"]
    rng = np.random.default_rng(0)
    genes = pd.DataFrame(rng.uniform(-0.2, 0.6, (30, 4)), imputed.var_names[:30], methods)
    genes.iloc[:5] = np.nan
    genes.loc[genes.index[5], "scdtl"] = -2.0
    genes["n_held_out"] = 50
    genes["mean_count"] = rng.lognormal(size=30)
    scores = pd.DataFrame({"poisson_score": [0.0, 0.5, 0.6, np.nan]}, index=methods)
    return Evaluation(scores=scores, genes=genes, settings={})


@pytest.fixture
def draw(imputed, lacking, model, evaluation):
    """Function that draws a figure by its name, with what it needs."""
    from scdtl import pl

    first, second = imputed.var_names[:2]
    figures = {
        "history": lambda **options: pl.history(imputed, **options),
        "observed_vs_imputed": lambda **options: pl.observed_vs_imputed(imputed, first, **options),
        "gene_scatter": lambda **options: pl.gene_scatter(imputed, first, second, **options),
        "dropout": lambda **options: pl.dropout(imputed, n_genes=8, **options),
        "unmeasured": lambda **options: pl.unmeasured(lacking, **options),
        "trust": lambda **options: pl.trust(imputed, **options),
        "attention": lambda **options: pl.attention(model, **options),
        "evaluate": lambda **options: pl.evaluate(evaluation, **options),
        "evaluate_genes": lambda **options: pl.evaluate_genes(evaluation, **options),
    }
    assert sorted(figures) == sorted(pl.__all__)
    return lambda name, **options: figures[name](**options)
