"""Ctrl-C during training: stops it and keeps what was learned."""

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
    """Ends training at the first Ctrl-C, with the best weights so far; a second one interrupts.

    Lightning by itself would end the program. Only in the main thread, as only there signals can
    be handled. Train inside its context: Lightning puts handlers back that it found in the middle
    of training, so the caller's is put back at the end.
    """

    interrupted = False

    def __enter__(self) -> StopOnInterrupt:
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        self._of_caller: Any = signal.getsignal(signal.SIGINT)
        return self

    def __exit__(self, *_: object) -> None:
        self._put_back()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def stop(*_: object) -> None:
            self._put_back()
            trainer.should_stop = self.interrupted = True
            logger.warning(
                "Interrupted: training ends here, with the best weights so far. Interrupt once "
                "more to stop altogether."
            )

        if self._in_main_thread:
            signal.signal(signal.SIGINT, stop)

    def _put_back(self) -> None:
        if self._in_main_thread and self._of_caller is not None:
            signal.signal(signal.SIGINT, self._of_caller)
