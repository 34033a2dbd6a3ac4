"""Transfer: bulk weights gathered, gene by gene, into the DAE of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.metrics import pairwise_distances_argmin
from sklearn.preprocessing import normalize

from scdtl.data._order import gene_keys
from scdtl.genes import match_genes
from scdtl.module._gene_order import gene_vectors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scipy import sparse

    from scdtl.genes import GeneMatches
    from scdtl.module._scdtl import SCDTLModule
    from scdtl.pretrained import BulkWeights

_DAE_BESIDE_CO_EXPRESSION = 0.5  # both say much the same


def matches_of(weights: BulkWeights, genes: Iterable[str]) -> GeneMatches:
    """Match the genes of cells to those of bulk weights."""
    species = weights.provenance.get("species")
    return match_genes(list(genes), weights.genes, weights.ensembl_ids, species)


def keys_in_bulk(weights: BulkWeights, genes: Iterable[str], matches: GeneMatches) -> np.ndarray:
    """Keys of genes by their names in bulk, see :func:`scdtl.data._order.gene_keys`."""
    return gene_keys(list(genes), [weights.genes[i] if i >= 0 else None for i in matches.position])


def architecture_of(weights: BulkWeights) -> dict[str, int]:
    """Arguments of a model that weights fit into."""
    return weights.architecture | {"n_components": weights.n_components}


@torch.no_grad()
def transfer(
    weights: BulkWeights, position: np.ndarray, measured: torch.Tensor, module: SCDTLModule
) -> None:
    """Start from bulk weights; genes unknown to bulk (position -1) start at zero."""
    known = torch.from_numpy(position >= 0)
    gathered = torch.from_numpy(np.maximum(position, 0))
    loadings = torch.from_numpy(weights.tensors["co_expression"])[gathered] * known[:, None]
    module.co_expression.start(loadings, measured & known)
    for name, parameter in module.dae.named_parameters():
        if name == "decoder.batch.weight":
            continue  # batches are the cells' own
        value = torch.from_numpy(weights.tensors[name])
        if name == "encoder.genes.weight":
            value = value[:, gathered] * known
        elif name.startswith("decoder.genes"):
            value = value[gathered] * (known if value.ndim == 1 else known[:, None])
            if loadings.shape[1]:
                value = value * _DAE_BESIDE_CO_EXPRESSION
        parameter.copy_(value)


def co_expression_order(
    weights: BulkWeights, position: np.ndarray, counts: sparse.csr_matrix
) -> np.ndarray:
    """Order of a data set's genes along the U-Net: that of bulk.

    A gene unknown to bulk (position -1) comes after the known gene that it is most correlated with
    in the data at hand.
    """
    known, unknown = np.flatnonzero(position >= 0), np.flatnonzero(position < 0)
    rank = np.zeros(len(position))
    rank[known] = np.argsort(weights.tensors["gene_order"])[position[known]]
    if len(unknown) and len(known):
        directions = normalize(gene_vectors(counts))
        nearest = pairwise_distances_argmin(directions[unknown], directions[known])
        rank[unknown] = rank[known][nearest] + 0.5
    return np.argsort(rank, kind="stable")
