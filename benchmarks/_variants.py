"""scdtl with one part off at a time. The package has no switches for this: parts are replaced."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch
from _peers import Imputed, Method, scdtl
from torch import nn

from scdtl import SCDTL
from scdtl.module._scdtl import SCDTLModule
from scdtl.train._held_out import HeldOutSplitter

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse
    from torch.utils.data import DataLoader

    from scdtl.model._held_out_cells import HeldOutCells
    from scdtl.noise import NoiseModel


# Networks


class NoUNet(nn.Module):
    """Takes the U-Net's place and computes nothing; what it gives back is not used."""

    def forward(self, deviation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return deviation, deviation[:, :0]


class DAEAlone(nn.Module):
    """Takes the place of the attention and passes the DAE's logits on."""

    def forward(
        self,
        dae: torch.Tensor,
        unet: torch.Tensor,
        context: torch.Tensor,
        batch_index: torch.Tensor,
    ) -> torch.Tensor:
        return dae


class Average(nn.Module):
    """Takes the place of the attention: both branches count the same in every cell and gene."""

    def forward(
        self,
        dae: torch.Tensor,
        unet: torch.Tensor,
        context: torch.Tensor,
        batch_index: torch.Tensor,
    ) -> torch.Tensor:
        return torch.lerp(unet, dae, 0.5)


class ModuleWithoutUNet(SCDTLModule):
    """The DAE alone; train it with `unet_weight=0`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unet, self.fusion = NoUNet(), DAEAlone()


class ModuleWithoutAttention(SCDTLModule):
    """Both branches, joined by their mean."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fusion = Average()


class WithoutUNet(SCDTL):
    _module_cls = ModuleWithoutUNet


class WithoutAttention(SCDTL):
    _module_cls = ModuleWithoutAttention


# Bulk


class WithoutAdaptation(SCDTL):
    """What bulk says of each gene stays as it is."""

    def _calibrate(self, cells: HeldOutCells) -> None:
        with mock.patch("scdtl.model._scdtl.adapt"):
            super()._calibrate(cells)


class WithoutCoExpression(SCDTL):
    """Bulk speaks by the DAE alone."""

    def _transfer(self, *args: Any) -> None:
        super()._transfer(*args)
        self.module.co_expression.loadings.zero_()


# Scale and posterior


class WithoutScale(SCDTL):
    """What networks and co-expression say is taken as it is."""

    def _calibrate(self, cells: HeldOutCells) -> None:
        with mock.patch("scdtl.model._scdtl.fit_scale"):
            super()._calibrate(cells)


class WithoutPosterior(SCDTL):
    """The prediction is the result, whatever the cell's own count of the gene is."""

    def train(self, *args: Any, **kwargs: Any) -> None:
        super().train(*args, **kwargs)
        self.module.noise.dispersion.zero_()


# Validation


class CellSplitter(HeldOutSplitter):
    """Holds out cells: trains on all molecules of the others, and validates on thinned ones."""

    def __init__(
        self,
        noise: type[NoiseModel],
        counts: sparse.csr_matrix,
        batch_index: np.ndarray,
        batch_size: int = 64,
        held_out_fraction: float = 0.1,
        seed: int = 0,
        positions: np.ndarray | None = None,
    ) -> None:
        n = max(2, round(held_out_fraction * len(batch_index)))
        if positions is None:
            positions = np.arange(len(batch_index))
        # The cells come in random order.
        super().__init__(noise, counts[n:], batch_index[n:], batch_size, 0.0, seed, positions[n:])
        self.judges = HeldOutSplitter(
            noise, counts[:n], batch_index[:n], batch_size, held_out_fraction, seed, positions[:n]
        )
        self.val_idx, self.n_val = self.judges.val_idx, self.judges.n_val

    def val_dataloader(self) -> DataLoader:
        return self.judges.val_dataloader()

    def calibration_dataloader(self) -> DataLoader:
        return self.judges.calibration_dataloader()

    def held_out_parts(self) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        return self.judges.held_out_parts()


class CellsHeldOut(SCDTL):
    _data_splitter_cls = CellSplitter


# Methods for the benchmark's runner


def impute(
    adata: AnnData,
    seed: int,
    model: type[SCDTL] = SCDTL,
    bulk: str | None = "human",
    loss: dict[str, float] | None = None,
    **train_kwargs: Any,
) -> Imputed:
    """`scdtl.pp.impute` with another model class or other arguments of training."""
    with mock.patch("scdtl.pp._training.SCDTL", model):
        return scdtl(adata, seed, bulk, train_kwargs={"plan_kwargs": loss or {}} | train_kwargs)


def _variant(**kwargs: Any) -> Method:
    return Method(partial(impute, **kwargs), needs=("scdtl.pp",), has_posterior=True)


FULL = "full"
VARIANTS = {
    FULL: _variant(),
    "without bulk": _variant(bulk=None),
    "without co-expression": _variant(model=WithoutCoExpression),
    "without adaptation": _variant(model=WithoutAdaptation),
    "without MMD": _variant(loss={"mmd_weight": 0}),
    "without U-Net": _variant(model=WithoutUNet, loss={"unet_weight": 0}),
    "without attention": _variant(model=WithoutAttention),
    "without the U-Net's loss": _variant(loss={"unet_weight": 0}),
    "without scale": _variant(model=WithoutScale),
    "without posterior": _variant(model=WithoutPosterior),
    "cells held out": _variant(model=CellsHeldOut),
    # Without validations there is no best one to go back to, either.
    "without early stopping": _variant(early_stopping=False, check_val_every_n_epoch=sys.maxsize),
    "without annealing": _variant(loss={"anneal": False}),
    "without averaging": _variant(loss={"ema_decay": 0}),
    "without half precision": _variant(precision="32-true"),
}
