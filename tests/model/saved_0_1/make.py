"""Writes models and weights, and what they say of the toy data: files of version 0.1."""

from pathlib import Path

import numpy as np

from scdtl import SCDTL, BulkDAE
from scdtl._random import local_seed
from scdtl.datasets import toy, toy_bulk

FOLDER = Path(__file__).parent

cells, bulk = toy(n_batches=2), toy_bulk()
SCDTL.setup_anndata(cells, batch_key="batch")
BulkDAE.setup_anndata(bulk, study_key="study")
with local_seed(0):
    bulk_model = BulkDAE(bulk, n_hidden=8, n_latent=4)
    bulk_model.train(max_epochs=20, n_episodes=50, enable_progress_bar=False)
    model = SCDTL.from_bulk_model(bulk_model, cells, patch_size=16)
    model.train(enable_progress_bar=False)
model.save(FOLDER / "scdtl", overwrite=True)
bulk_model.save(FOLDER / "bulk", overwrite=True)
bulk_model.export(FOLDER / "weights.safetensors", name="old")
np.savez_compressed(
    FOLDER / "expected.npz",
    counts=cells.X.toarray(),
    batch=cells.obs["batch"].to_numpy(str),
    imputed=model.get_imputed_expression(return_numpy=True),
    trusted=model.trusted_genes,
    bulk=bulk.X.toarray(),
    study=bulk.obs["study"].to_numpy(str),
    bulk_imputed=bulk_model.get_imputed_expression(return_numpy=True),
)
