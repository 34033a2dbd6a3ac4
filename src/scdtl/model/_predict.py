"""What a trained network predicts of cells, block by block: the one loop over cells."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from tqdm.auto import tqdm

from scdtl.data._gene_order import columns_at
from scdtl.model._scales import on_scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from scdtl.model._scales import Replace, Scale
    from scdtl.module._scdtl import SCDTLModule

    Values: TypeAlias = np.ndarray | sparse.csr_matrix

_LEAST_CHANCE = 0.01


@dataclass(frozen=True, eq=False)
class Predictor:
    """A trained network with everything needed to impute cells, without data.

    Options are those of :meth:`scdtl.SCDTL.get_imputed_expression`.
    """

    module: SCDTLModule  # in evaluation mode
    position: np.ndarray  # of each gene of the counts among the module's genes
    columns: np.ndarray  # positions among the module's genes of the genes wanted
    batch_size: int
    scale: Scale = "log1p"
    replace: Replace = "all"
    own_counts: bool = True
    return_std: bool = False
    return_dropout: bool = False
    dropout_threshold: float = 0.5
    untrusted: np.ndarray | None = None  # genes of the module to leave as observed
    cut_off: torch.Tensor | None = None  # rate per 10,000 below which unobserved entries are 0
    target_batch: int | None = None
    place: Callable[[Values], Values] | None = None  # makes a layer of the genes wanted

    def minibatches(
        self, counts: sparse.csr_matrix, batch_index: np.ndarray, verbose: bool = False
    ) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Yield rows, their counts and their batch as the module takes them."""
        device, n_cells = self.module.device, counts.shape[0]
        starts = range(0, n_cells, self.batch_size)
        for first in tqdm(starts, "Imputing", disable=not verbose):
            rows = slice(first, min(first + self.batch_size, n_cells))
            block = columns_at(counts[rows], self.position).astype(np.float32, copy=False)
            dense = torch.from_numpy(block.toarray()).to(device)
            yield rows, dense, torch.from_numpy(batch_index[rows]).to(device)

    @torch.inference_mode()
    def expression(
        self,
        counts: sparse.csr_matrix,
        batch_index: np.ndarray,
        library_size: np.ndarray | None = None,
        verbose: bool = False,
    ) -> list[Values]:
        """Imputed values and, if wanted, standard deviation and probability of dropout.

        They are at a library size per cell; ``None`` is the cell's own.
        """
        shape = counts.shape[0], len(self.columns)
        empty = sparse.csr_matrix((0, shape[1]), dtype=np.float32)
        results: list[Any] = [
            [empty] if is_sparse else np.empty(shape, dtype=np.float32)
            for is_sparse in self.layers.values()
        ]
        for rows, observed, batch in self.minibatches(counts, batch_index, verbose):
            size = None if library_size is None else library_size[rows]
            layers = self._imputed(observed, batch, size)
            for result, tensor in zip(results, layers, strict=True):
                block = tensor[:, self.columns].cpu().numpy()
                if isinstance(result, list):
                    result.append(sparse.csr_matrix(block))
                else:
                    result[rows] = block
        whole = [
            sparse.vstack(result, format="csr") if isinstance(result, list) else result
            for result in results
        ]
        return whole if self.place is None else [self.place(values) for values in whole]

    @property
    def layers(self) -> dict[str, bool]:
        """What :meth:`expression` gives, by the endings of the layers' names; whether sparse."""
        layers = {"": self.cut_off is not None or self.replace == "dropouts"}
        if self.return_std:
            layers["_std"] = False
        if self.return_dropout:
            layers["_dropout"] = True
        return layers

    @torch.inference_mode()
    def latent(self, counts: sparse.csr_matrix, batch_index: np.ndarray) -> np.ndarray:
        """Latent of each cell, cells × ``n_latent``."""
        latent = np.empty((counts.shape[0], self.n_latent), dtype=np.float32)
        for rows, observed, batch in self.minibatches(counts, batch_index):
            deviation = self.module.deviation(observed, batch)
            latent[rows] = self.module.dae.encoder(deviation).cpu().numpy()
        return latent

    @property
    def n_latent(self) -> int:
        """Dimensions of the latent."""
        return self.module.bulk_latents.shape[1]

    def copied(self) -> Predictor:
        """A copy that stays as it is when the model is trained further."""
        return replaced(self, module=copy.deepcopy(self.module))

    def _imputed(
        self, counts: torch.Tensor, batch: torch.Tensor, library_size: np.ndarray | None
    ) -> list[torch.Tensor]:
        """The same of a minibatch, for all genes of the module."""
        imputed = on_scale(
            self.module,
            counts,
            batch,
            self.scale,
            library_size,
            self.target_batch,
            self.own_counts,
        )
        value, is_zero = imputed.value, counts == 0
        layers = [imputed.std()] if self.return_std else []
        if self.return_dropout or self.replace == "dropouts":
            chance, if_expressed = imputed.dropout()
            if self.return_dropout:
                layers.append(torch.where(chance < _LEAST_CHANCE, 0, chance))
        if self.replace == "dropouts":
            filled = torch.where(chance > self.dropout_threshold, if_expressed, 0)
            value = torch.where(is_zero, filled, imputed.observed)
        elif self.replace == "zeros":
            value = torch.where(is_zero, value, imputed.observed)
        elif self.untrusted is not None:
            untrusted = torch.from_numpy(self.untrusted).to(counts.device)
            value = torch.where(untrusted, imputed.observed, value)
        if self.cut_off is not None:
            value = torch.where(is_zero & (imputed.per_10k < self.cut_off), 0, value)
        return [value, *layers]

    def __getstate__(self) -> dict[str, Any]:
        # Where it is unpickled there may be no such device.
        state = vars(self) | {"module": copy.deepcopy(self.module).cpu()}
        return state | {"cut_off": None if self.cut_off is None else self.cut_off.cpu()}
