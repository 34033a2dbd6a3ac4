"""Fixtures that several files share; what takes long is done once per session."""

from __future__ import annotations

import json

import hypothesis
import pytest

# A run that passed passes again until the code changes.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """On few and busy cores, torch's threads wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    """What a test draws from torch is the same each time."""
    import torch

    torch.set_num_threads(1)  # scanpy's numba may have raised it
    torch.manual_seed(0)


@pytest.fixture
def adata():
    """60 cells × 40 genes in two batches; a test may change it."""
    from scdtl.datasets import toy

    return toy(n_batches=2)


@pytest.fixture(scope="session")
def train_scdtl():
    """Function that sets up and trains an SCDTL by seed."""
    from scdtl import SCDTL
    from scdtl._random import local_seed

    def train(adata, *, layer=None, batch_key=None, bulk=None, seed=0, **train_kwargs):
        SCDTL.setup_anndata(adata, layer=layer, batch_key=batch_key)
        with local_seed(seed):
            model = SCDTL(adata) if bulk is None else SCDTL.from_bulk_model(bulk, adata)
            model.train(**({"enable_progress_bar": False} | train_kwargs))
        return model

    return train


@pytest.fixture(scope="session")
def toy_model(train_scdtl):
    """Trained on a toy of two batches, as by default; not to be changed."""
    from scdtl.datasets import toy

    return train_scdtl(toy(n_batches=2), batch_key="batch")


@pytest.fixture(scope="session")
def toy_bulk_model():
    """Trained on the toy bulk for two short epochs; not to be changed."""
    from scdtl import BulkDAE
    from scdtl._random import local_seed
    from scdtl.datasets import toy_bulk

    bulk = toy_bulk()
    BulkDAE.setup_anndata(bulk, study_key="study")
    with local_seed(0):
        model = BulkDAE(bulk, n_hidden=16, n_latent=4)
        model.train(max_epochs=2, n_episodes=10, enable_progress_bar=False)
    return model


@pytest.fixture(scope="session")
def toy_weights_file(toy_bulk_model, tmp_path_factory):
    """The toy bulk model's weights in a file."""
    path = tmp_path_factory.mktemp("weights") / "toy.safetensors"
    toy_bulk_model.export(path, name="toy")
    return path


@pytest.fixture
def toy_registry(toy_weights_file, tmp_path, monkeypatch):
    """Registry in which the toy weights are released too; they are nowhere to be found."""
    from scdtl.pretrained import _registry, load_weights

    content = json.loads(_registry.PATH.read_text())
    content["weights"]["toy"] = content["weights"]["human"] | {
        "file": "toy.safetensors",
        "sha256": load_weights(toy_weights_file).sha256,
        "bytes": toy_weights_file.stat().st_size,
        "genes": 40,
    }
    path = tmp_path / "registry.json"
    path.write_text(json.dumps(content))
    monkeypatch.setattr(_registry, "PATH", path)
    monkeypatch.setenv("SCDTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("SCDTL_BASE_URL", raising=False)
    monkeypatch.delenv("SCDTL_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return path


@pytest.fixture(scope="session")
def pbmc_counts():
    """Real counts, 700 cells × 765 genes; not to be changed."""
    from scdtl.datasets import pbmc68k_counts

    return pbmc68k_counts()


@pytest.fixture(scope="session")
def pbmc_reads(pbmc_counts):
    """Real molecules in some 30 copies each, a fifth of the entries dropped out; not to change."""
    import anndata
    import numpy as np
    from scipy import sparse

    random = np.random.default_rng(0)
    molecules = pbmc_counts.X[:240, ::3].toarray()
    copies = random.poisson(molecules * random.gamma(3, 10, size=molecules.shape))
    dropped = random.random(copies.shape) < 0.2
    return anndata.AnnData(
        sparse.csr_matrix(np.where(dropped, 0, copies), dtype=np.float32),
        obs=pbmc_counts.obs[:240],
        var=pbmc_counts.var[::3],
        layers={"before": sparse.csr_matrix(copies, dtype=np.float32)},
    )


@pytest.fixture(scope="session")
def pbmc_split(pbmc_counts):
    """The real counts without a tenth of their molecules, and these molecules (dense)."""
    import numpy as np
    from scipy.sparse import csr_matrix

    counts = pbmc_counts.X.toarray().astype(int)
    held_out = np.random.default_rng(0).binomial(counts, 0.1)
    observed = pbmc_counts.copy()
    observed.X = csr_matrix(counts - held_out, dtype=np.float32)
    return observed, held_out


@pytest.fixture(scope="session")
def imputed_pbmc(pbmc_split):
    """The nine tenths imputed by default; not to be changed."""
    from scdtl.pp import impute

    return impute(pbmc_split[0], copy=True)
