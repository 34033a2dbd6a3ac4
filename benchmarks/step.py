"""Time of a training step: the whole network against the DAE alone and its bare products.

    python benchmarks/step.py --out step.csv

bare   the five large matrix products of the DAE, forward and backward: a floor for dense layers
dae    a step of scdtl without U-Net and fusion
full   a step of scdtl, with MMD
scvi   a step of scVI with its defaults

Counts are synthetic and sparse. In a plain loop the minibatch is ready and a step is forward,
backward, clipping and optimiser. In scvi-tools' loop (`TrainRunner`) it is the time from one step
to the next, drawing and thinning of the minibatch and the average of the weights included.
All are measured in turn, in one process, on the CPU or with `--accelerator gpu` on a GPU; the
medians are printed.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
import torch
from _cost_tables import step as step_table
from _variants import WithoutUNet
from lightning.pytorch.callbacks import Callback
from scipy import sparse
from scvi.dataloaders import AnnDataLoader
from scvi.model import SCVI

from scdtl import SCDTL
from scdtl._compat import quiet_lightning

if TYPE_CHECKING:
    from collections.abc import Callable

    from scvi.model.base import BaseModelClass

PLAIN, IN_SCVI = "plain loop", "scvi-tools' loop"
NAMES = {"bare": "bare products", "dae": "DAE alone", "full": "full", "scvi": "scVI"}
STEPS_PER_EPOCH = 9
WARM_UP = 3


class Contender(NamedTuple):
    """A model, one of its minibatches and what its training is told."""

    model: BaseModelClass
    tensors: dict[str, torch.Tensor]
    train_kwargs: dict[str, Any]


def synthetic(n_cells: int, n_genes: int) -> sparse.csr_matrix:
    """Poisson counts of log-normal rates, about 15 % of them non-zero."""
    random = np.random.default_rng(0)
    rates = random.lognormal(0, 2, n_genes)
    depths = 0.4 * n_genes * random.lognormal(0, 0.3, (n_cells, 1))
    return sparse.csr_matrix(random.poisson(depths * rates / rates.sum()), dtype=np.float32)


def contenders(counts: sparse.csr_matrix, n_cells: int, device: str) -> dict[str, Contender]:
    result = {}
    for name, model_class, loss in (
        ("dae", WithoutUNet, {"unet_weight": 0}),
        ("full", SCDTL, {}),
    ):
        model = _new(model_class, counts)
        model.module.bulk_latents.normal_()
        molecules = model._split(n_cells, 0.1, counts.shape[0])
        model._start(molecules)
        tensors = next(iter(molecules.train_dataloader()))
        result[name] = Contender(model, tensors, {"plan_kwargs": loss})
    scvi = _new(SCVI, counts)
    loader = AnnDataLoader(scvi.adata_manager, batch_size=n_cells)
    result["scvi"] = Contender(scvi, next(iter(loader)), {})
    for model, tensors, _ in result.values():
        model.module.to(device)
        tensors.update({name: tensor.to(device) for name, tensor in tensors.items()})
    return result


def _new(model_class: type[BaseModelClass], counts: sparse.csr_matrix) -> BaseModelClass:
    adata = ad.AnnData(counts.copy())
    model_class.setup_anndata(adata)
    return model_class(adata)


def bare_products(n_cells: int, n_genes: int, n_hidden: int, device: str) -> Callable[[], None]:
    """Into and out of the genes, their gradients, and the gradient of the hidden layer."""
    shapes = ((n_cells, n_genes), (n_cells, n_hidden), (n_hidden, n_genes), (n_genes, n_hidden))
    genes, hidden, into, out_of = (torch.randn(shape, device=device) for shape in shapes)

    def products() -> None:
        for left, right in (
            (genes, into.T),
            (hidden, out_of.T),
            (hidden.T, genes),
            (genes.T, hidden),
            (genes, out_of),
        ):
            torch.mm(left, right)

    return products


def plain_step(contender: Contender) -> Callable[[], None]:
    """A step on a fixed minibatch, with the model's own loss and optimiser."""
    model, tensors, train_kwargs = contender
    plan = model._training_plan_cls(model.module, **train_kwargs.get("plan_kwargs", {}))
    optimiser = plan.configure_optimizers()["optimizer"]

    def step() -> None:
        model.module.train()
        optimiser.zero_grad()
        losses = plan.forward(tensors, loss_kwargs=plan.loss_kwargs)[2]
        losses.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
        optimiser.step()

    return step


class Clock(Callback):
    """Notes when each step starts."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_batch_start(self, *args: Any) -> None:
        self.starts.append(time.perf_counter())


def scvi_steps(contender: Contender, n_cells: int, accelerator: str) -> list[float]:
    """Seconds from step to step of one epoch in scvi-tools' loop, without validation."""
    clock = Clock()
    with quiet_lightning():
        contender.model.train(
            max_epochs=1,
            batch_size=n_cells,
            accelerator=accelerator,
            early_stopping=False,
            callbacks=[clock],
            check_val_every_n_epoch=1_000,
            enable_progress_bar=False,
            **contender.train_kwargs,
        )
    return list(np.diff(clock.starts))


def seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(
    counts: sparse.csr_matrix, n_cells: int, repeats: int, accelerator: str
) -> dict[tuple, list[float]]:
    """Seconds of each step in each loop."""
    device = "cuda" if accelerator == "gpu" else "cpu"
    models = contenders(counts, n_cells, device)
    n_hidden = models["full"].model.module.dae.encoder.genes.out_features
    calls = {"bare": bare_products(n_cells, counts.shape[1], n_hidden, device)}
    calls |= {name: plain_step(contender) for name, contender in models.items()}
    times: dict[tuple, list[float]] = defaultdict(list)
    for repeat in range(WARM_UP + repeats):
        for name, call in calls.items():
            elapsed = seconds(call)
            if repeat >= WARM_UP:
                times[name, PLAIN].append(elapsed)
    while len(times["full", IN_SCVI]) < repeats:
        for name, contender in models.items():
            times[name, IN_SCVI] += scvi_steps(contender, n_cells, accelerator)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--genes", type=int, default=12_000)
    parser.add_argument("--cells", type=int, default=128, help="cells per minibatch")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--accelerator", default="cpu", choices=("cpu", "gpu"))
    parser.add_argument("--out", type=Path, help="CSV file for the medians")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    counts = synthetic(STEPS_PER_EPOCH * arguments.cells, arguments.genes)
    times = measure(counts, arguments.cells, arguments.repeats, arguments.accelerator)
    rows = pd.DataFrame(
        {
            "step": step,
            "name": NAMES[step],
            "loop": loop,
            "milliseconds": 1_000 * median(values),
            "genes": arguments.genes,
            "minibatch": arguments.cells,
            "nonzero": counts.nnz / np.prod(counts.shape),
            "repeats": arguments.repeats,
            "threads": arguments.threads,
        }
        for (step, loop), values in times.items()
    )
    if arguments.out is not None:
        rows.to_csv(arguments.out, index=False)
    print(step_table(rows))


if __name__ == "__main__":
    main()
