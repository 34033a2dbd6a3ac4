"""Imputer: a trained network with what it takes to impute a block of cells, and no data."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse

from scdtl.model._scales import on_scale
from scdtl.module._gene_order import columns_at

if TYPE_CHECKING:
    from scdtl.model._scales import Replace, Scale
    from scdtl.module._scdtl import SCDTLModule


@dataclass(frozen=True)
class Imputer:
    """Imputes blocks of cells.

    Parameters
    ----------
    module
        Trained network, in evaluation mode.
    position
        For each gene of the counts its position among the module's genes.
    columns
        Positions among the module's genes of the genes wanted.
    scale, replace
        As in :meth:`scdtl.SCDTL.get_imputed_expression`.
    untrusted
        In the module's order, genes to leave as observed with ``replace="trusted"``.
    cut_off
        In the module's order, the rate (counts per 10,000) below which unobserved entries
        become zero, and the result sparse.
    target_batch
        Batch as whose cells the rates are predicted.
    """

    module: SCDTLModule
    position: np.ndarray
    columns: np.ndarray
    scale: Scale
    replace: Replace
    untrusted: np.ndarray | None = None
    cut_off: torch.Tensor | None = None
    target_batch: int | None = None

    @torch.inference_mode()
    def __call__(
        self,
        counts: sparse.csr_matrix,
        batch_index: np.ndarray,
        library_size: np.ndarray | None = None,
        return_std: bool = False,
    ) -> list[np.ndarray | sparse.csr_matrix]:
        """Imputed values and, with ``return_std``, their standard deviation; cells × genes wanted.

        Parameters
        ----------
        counts
            Counts, cells × genes.
        batch_index
            Batch of each cell.
        library_size
            Depth of the result per cell; ``None`` for the cell's own.
        return_std
            Whether to give the standard deviation, never sparse.
        """
        device = self.module.device
        dense = dense_block(counts, self.position, device)
        batch = torch.from_numpy(batch_index).to(device)
        value, observed, std, per_10k = on_scale(
            self.module, dense, batch, self.scale, library_size, self.target_batch
        )
        if self.replace == "zeros":
            value = torch.where(dense > 0, observed, value)
        elif self.untrusted is not None:
            value = torch.where(torch.from_numpy(self.untrusted).to(device), observed, value)
        if self.cut_off is not None:
            value = torch.where((dense == 0) & (per_10k < self.cut_off), 0, value)
        tensors = [value, std()] if return_std else [value]
        results: list = [x[:, self.columns].cpu().numpy() for x in tensors]
        if self.cut_off is not None:
            results[0] = sparse.csr_matrix(results[0])
        return results

    @torch.inference_mode()
    def latent(self, counts: sparse.csr_matrix, batch_index: np.ndarray) -> np.ndarray:
        """Latent of each cell, cells × ``n_latent``.

        Parameters
        ----------
        counts, batch_index
            As in a call.
        """
        device = self.module.device
        batch = torch.from_numpy(batch_index).to(device)
        deviation = self.module.deviation(dense_block(counts, self.position, device), batch)
        return self.module.dae.encoder(deviation).cpu().numpy()

    @property
    def n_latent(self) -> int:
        """Dimensions of the latent."""
        return self.module.bulk_latents.shape[1]

    def copied(self) -> Imputer:
        """A copy that stays as it is when the model is trained further."""
        return replaced(self, module=copy.deepcopy(self.module))

    def __getstate__(self) -> dict[str, Any]:
        # Where it is unpickled there may be no such device.
        state = vars(self) | {"module": copy.deepcopy(self.module).cpu()}
        return state | {"cut_off": None if self.cut_off is None else self.cut_off.cpu()}


def dense_block(
    counts: sparse.csr_matrix, position: np.ndarray, device: torch.device
) -> torch.Tensor:
    """Counts of a block of cells as a dense tensor, genes in the module's order.

    Parameters
    ----------
    counts
        Counts, cells × genes.
    position
        For each gene its position among the module's genes.
    device
        Where the tensor goes.
    """
    block = columns_at(counts, position).astype(np.float32, copy=False)
    return torch.from_numpy(block.toarray()).to(device)
