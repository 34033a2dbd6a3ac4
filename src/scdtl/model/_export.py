"""From a trained bulk model to weights, as files hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from scdtl.data._gene_order import order_by_similarity
from scdtl.model._bulk_samples import gene_names
from scdtl.model._loadings import co_expression_loadings
from scdtl.module._scdtl import N_BULK_LATENTS
from scdtl.pretrained import BulkWeights
from scdtl.pretrained._safetensors import sha256_of
from scdtl.train._episodes import Episodes

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from scdtl.module._bulk import BulkDAEModule

_N_EPISODES = 16


@torch.inference_mode()
def weights_of(
    module: BulkDAEModule,
    samples: tuple[np.ndarray, np.ndarray, np.ndarray],
    var: pd.DataFrame,
    provenance: dict[str, Any],
) -> BulkWeights:
    """Weights of a trained module; samples are expression, studies and units."""
    tensors = {name: value.cpu().numpy() for name, value in module.dae.state_dict().items()}
    # Bulk has one batch; its embedding is a constant, and belongs to the bias.
    tensors["decoder.latent.bias"] = (
        tensors["decoder.latent.bias"] + tensors.pop("decoder.batch.weight")[0]
    )
    tensors["log_mean"] = module.log_mean.cpu().numpy()
    tensors["gene_order"] = order_by_similarity(tensors["decoder.genes.weight"])
    expression, studies, _ = samples
    tensors["co_expression"] = co_expression_loadings(expression, studies, tensors["log_mean"])
    tensors["latents"] = _pseudo_cell_latents(module, samples)
    n_latent, n_hidden = tensors["encoder.latent.weight"].shape
    genes, ensembl_ids = gene_names(var)
    return BulkWeights(
        tensors,
        genes,
        ensembl_ids,
        {"n_hidden": n_hidden, "n_latent": n_latent},
        {"n_samples": len(samples[0])} | provenance,
        sha256_of({"genes": genes, "ensembl_ids": ensembl_ids}, tensors),
    )


def _pseudo_cell_latents(
    module: BulkDAEModule, samples: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    n_cells = N_BULK_LATENTS // _N_EPISODES
    episodes = Episodes(*samples, n_cells=n_cells, n_episodes=_N_EPISODES, seed=0)
    module.eval()
    latents = [
        module.inference(**module._get_inference_input(episode))["latent"] for episode in episodes
    ]
    return torch.cat(latents).cpu().numpy()
