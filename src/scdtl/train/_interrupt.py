"""Ctrl-C in training: an end with what was learned, not a loss of it."""

from __future__ import annotations

import logging
import signal
import threading
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

logger = logging.getLogger(__name__)


class StopOnInterrupt(Callback):
    """Ends training at the first Ctrl-C, with the best weights so far; the next one is as ever.

    Lightning by itself would end the program. Only where one process trains, and in the main
    thread, as only there signals can be handled.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._earlier: Any = None
        if trainer.world_size > 1 or threading.current_thread() is not threading.main_thread():
            return

        def stop(*_: Any) -> None:
            self._restore()
            trainer.should_stop = True
            logger.warning(
                "Interrupted: training ends here, with the best weights so far. Interrupt once "
                "more to stop altogether."
            )

        self._earlier = signal.signal(signal.SIGINT, stop)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        if self._earlier is not None:
            signal.signal(signal.SIGINT, self._earlier)
            self._earlier = None
