"""The TensorBoard tracker: scalars and pictures in ``tb/`` beside the checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from usd_bench.tracking import Followed, Tracker, imported, scalars

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class TensorBoardTracker(Tracker):
    """Look with ``tensorboard --logdir results/artifacts``. Needs the extra ``tracking``."""

    draws: ClassVar[bool] = True

    def __init__(self, run: Followed) -> None:
        super().__init__(run)
        folder = run.folder / "tb"
        if not run.before:
            shutil.rmtree(folder, ignore_errors=True)  # of an earlier attempt
        # What an interrupted run wrote later than its checkpoint is purged: it comes again.
        purge = int(run.before[-1]["iteration"]) + 1 if run.before else None
        self._writer = imported("torch.utils.tensorboard").SummaryWriter(folder, purge_step=purge)
        self._writer.add_text("run", f"{run.label}\n\n{run.run_id}")

    def log(self, row: Mapping[str, Any]) -> None:
        for name, value in scalars(row).items():
            self._writer.add_scalar(name, value, row["iteration"])
        self._writer.flush()

    def draw(self, iteration: int, figure: Figure) -> None:
        self._writer.add_figure("fields", figure, iteration, close=False)

    def close(self) -> None:
        self._writer.close()
