"""Cross-channel attention: each cell weights the branches gene by gene."""

from __future__ import annotations

import torch
from torch import nn

_INITIAL_TRUST_IN_DAE = 2.0


class CrossChannelAttention(nn.Module):
    r"""Attention of cells over two channels, the DAE's and the U-Net's logits.

    With query :math:`q_c` of a cell and key :math:`k_{gb}` of gene and branch, the weights are
    :math:`\mathrm{softmax}_b(q_c \cdot k_{gb} + a_{gb})`. A softmax over two channels is a
    logistic of the difference of their scores, so only the difference of the two keys is kept
    and the whole attention costs one thin matrix product.

    Parameters
    ----------
    n_genes
        Number of genes.
    n_context
        Width of the cell's context: DAE latent and U-Net summary together.
    n_batch
        Number of batches; each shifts the queries.
    rank
        Width of queries and keys.
    """

    def __init__(self, n_genes: int, n_context: int, n_batch: int, rank: int = 16):
        super().__init__()
        self.query = nn.Linear(n_context, rank)
        self.batch = nn.Embedding(n_batch, rank)
        nn.init.zeros_(self.batch.weight)
        self.key = nn.Linear(rank, n_genes)
        nn.init.zeros_(self.key.weight)  # so that what comes from bulk has no noise in it
        nn.init.constant_(self.key.bias, _INITIAL_TRUST_IN_DAE)

    def forward(
        self,
        dae: torch.Tensor,
        unet: torch.Tensor,
        context: torch.Tensor,
        batch_index: torch.Tensor,
    ) -> torch.Tensor:
        return torch.lerp(unet, dae, self.weight_of_dae(context, batch_index))

    def weight_of_dae(self, context: torch.Tensor, batch_index: torch.Tensor) -> torch.Tensor:
        """Attention that each cell pays to the DAE, cells × genes; the U-Net has the rest."""
        query = torch.tanh(self.query(context) + self.batch(batch_index))
        return torch.sigmoid(self.key(query))
