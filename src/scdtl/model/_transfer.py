"""Transfer: bulk weights gathered, gene by gene, into the DAE of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scdtl.data._gene_order import gene_keys
from scdtl.genes import match_genes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scdtl.genes import GeneMatches
    from scdtl.module._scdtl import SCDTLModule
    from scdtl.pretrained import BulkWeights


def matches_of(weights: BulkWeights, genes: Iterable[str]) -> GeneMatches:
    """Match the genes of cells to those of bulk weights."""
    species = weights.provenance.get("species")
    return match_genes(list(genes), weights.genes, weights.ensembl_ids, species)


def keys_in_bulk(weights: BulkWeights, genes: Iterable[str], matches: GeneMatches) -> np.ndarray:
    """Keys of genes by their names in bulk, see :func:`scdtl.data._gene_order.gene_keys`."""
    return gene_keys(list(genes), [weights.genes[i] if i >= 0 else None for i in matches.position])


def architecture_of(weights: BulkWeights) -> dict[str, int]:
    """Arguments of a model that weights fit into."""
    return weights.architecture | {"n_components": weights.n_components}


@torch.no_grad()
def transfer(weights: BulkWeights, position: np.ndarray, module: SCDTLModule) -> None:
    """Start from bulk weights; genes unknown to bulk (position -1) start at zero."""
    known = torch.from_numpy(position >= 0)
    gathered = torch.from_numpy(np.maximum(position, 0))
    loadings = torch.from_numpy(weights.tensors["co_expression"])[gathered] * known[:, None]
    module.co_expression.loadings.copy_(loadings)
    for name, parameter in module.dae.named_parameters():
        if name == "decoder.batch.weight":
            continue  # batches are the cells' own
        value = torch.from_numpy(weights.tensors[name])
        if name == "encoder.genes.weight":
            value = value[:, gathered] * known
        elif name.startswith("decoder.genes"):
            value = value[gathered] * (known if value.ndim == 1 else known[:, None])
        parameter.copy_(value)
