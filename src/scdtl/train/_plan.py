"""The training plan: AdamW with warm-up, and validation on an average of the weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import Callback
from scvi.train import TrainingPlan

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer
    from scvi.module.base import BaseModuleClass


class AveragedTrainingPlan(TrainingPlan):
    """Trains with AdamW; validates with, and ends on, an average of the weights.

    Parameters
    ----------
    module
        The module to train.
    lr
        Learning rate after warm-up.
    weight_decay
        Decoupled weight decay.
    n_warmup_steps
        Steps over which the learning rate rises linearly from 0.
    anneal
        Whether it then falls to 0 along a cosine, until the last step.
    ema_decay
        Weight of the past in the exponential moving average; shorter at the start.
    **loss_kwargs
        Passed to the module's ``loss``.
    """

    betas = (0.9, 0.999)

    def __init__(
        self,
        module: BaseModuleClass,
        *,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        n_warmup_steps: int = 10,
        anneal: bool = False,
        ema_decay: float = 0.95,
        **loss_kwargs: Any,
    ):
        super().__init__(module, lr=lr, weight_decay=weight_decay, eps=1e-8, **loss_kwargs)
        self.n_warmup_steps = n_warmup_steps
        self.anneal = anneal
        self.ema_decay = ema_decay
        self._of_epoch: list[torch.Tensor] = []
        self._validations_of_epoch: list[float] = []
        self._best_loss = math.inf
        self._best: list[torch.Tensor] | None = None
        self._is_falling = True

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(
            self._parameters_to_train(),
            lr=self.lr,
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )
        if self.anneal:
            self._n_steps = self.trainer.estimated_stepping_batches
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._lr_factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _lr_factor(self, step: int) -> float:
        warmup = min(1.0, (step + 1) / self.n_warmup_steps)
        if not self.anneal:
            return warmup
        progress = min(1.0, step / self._n_steps)
        return warmup * 0.5 * (1 + math.cos(math.pi * progress))

    def _parameters_to_train(self) -> list[torch.Tensor]:
        return [p for p in self.module.parameters() if p.requires_grad]

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        _, _, losses = self.forward(batch, loss_kwargs=self.loss_kwargs)
        # Lightning's own mean over the steps of an epoch takes a twentieth of a step.
        self._of_epoch.append(losses.loss.detach())
        return losses.loss

    def on_train_epoch_end(self) -> None:
        if self._of_epoch:  # Ctrl-C may come before the first step
            self.log("train_loss", torch.stack(self._of_epoch).mean(), prog_bar=True)
        if self._validations_of_epoch:  # of several, the history would have the last
            self.log("validation_loss", min(self._validations_of_epoch), prog_bar=True)
        self._of_epoch, self._validations_of_epoch = [], []

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        _, _, losses = self.forward(batch, loss_kwargs=self.loss_kwargs)
        n_cells = losses.n_obs_minibatch
        self.log("validation_loss", losses.loss, on_epoch=True, batch_size=n_cells, prog_bar=True)

    # The average of the weights

    def on_fit_start(self) -> None:
        self._average = [p.detach().clone() for p in self._parameters_to_train()]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = self.trainer.global_step
        decay = min(self.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(self._average, self._parameters_to_train(), 1 - decay)

    def _swap_average(self) -> None:
        for parameter, average in zip(self._parameters_to_train(), self._average, strict=True):
            parameter.data, average.data = average.data, parameter.data

    def on_validation_start(self) -> None:
        self._swap_average()

    def on_validation_end(self) -> None:
        self._swap_average()
        loss = float(self.trainer.callback_metrics["validation_loss"])
        self._validations_of_epoch.append(loss)
        self._is_falling = loss < self._best_loss
        if self._is_falling:
            self._best_loss = loss
            self._best = [a.clone() for a in self._average]

    def on_train_end(self) -> None:
        # What was learned since the last validation counts, if that was the best one.
        final = self._average if self._best is None or self._is_falling else self._best
        for parameter, value in zip(self._parameters_to_train(), final, strict=True):
            parameter.data.copy_(value)


class SCDTLTrainingPlan(AveragedTrainingPlan):
    """The plan of SCDTL: short, and each validation also renews the posterior's dispersion."""

    betas = (0.8, 0.99)  # what was learned 100 steps ago is of another network

    def on_validation_end(self) -> None:
        super().on_validation_end()
        self.module.noise.renew()


class ValidateAtTheEnd(Callback):
    """Has the last epoch validated, wherever it falls."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = trainer.max_epochs
