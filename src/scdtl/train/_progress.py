"""The progress bar of training, in the style of the package's other bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning.pytorch.callbacks import Callback
from tqdm.auto import tqdm

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


class TrainingBar(Callback):
    """Counts epochs; where training ends before the last one, the bar ends too and says so.

    Parameters
    ----------
    enable
        Whether to show it.
    label
        What is trained.
    """

    def __init__(self, enable: bool, label: str = "Training"):
        self._enable = enable
        self._label = label

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bar = tqdm(
            total=trainer.max_epochs, desc=self._label, unit="epoch", disable=not self._enable
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bar.update()
        loss = trainer.callback_metrics.get("validation_loss")
        if loss is not None:
            self._bar.set_postfix(validation_loss=f"{float(loss):.4f}", refresh=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._enable and self._bar.n < self._bar.total:
            self._bar.total = self._bar.n
            self._bar.set_description(f"{self._label} ended early")
        self._bar.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if hasattr(self, "_bar"):
            self._bar.close()
