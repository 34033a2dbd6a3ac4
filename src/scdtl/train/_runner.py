"""The runner of a fit: what scvi-tools leaves open where several processes train."""

from __future__ import annotations

import sys
from pathlib import Path

from scvi.train import TrainRunner

from scdtl._compat import starts_script_again


class SharingTrainRunner(TrainRunner):
    """Ends with the same history in every process, and says when no second one can start."""

    def __call__(self) -> None:
        self._check_can_start_again()
        super().__call__()
        # scvi-tools keeps it in the first process only, and a later fit depends on it.
        self.model.history_ = self.trainer.strategy.broadcast(self.model.history_)

    def _check_can_start_again(self) -> None:
        """Refuse what Lightning would answer by killing this process without a word."""
        import __main__

        if (
            starts_script_again(self.trainer)
            and __main__.__spec__ is None
            and not Path(sys.argv[0]).is_file()
        ):
            raise RuntimeError(
                "Several devices need a script in a file, which is started again for each of "
                "them. Save the script, or train with strategy='ddp_spawn' or one device."
            )
