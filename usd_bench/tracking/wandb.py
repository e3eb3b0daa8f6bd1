"""The Weights & Biases tracker: a run in ``wandb/`` beside the checkpoints, offline unless the user says otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from usd_bench.tracking import Followed, Tracker, imported, scalars

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class WandbTracker(Tracker):
    """Offline unless ``WANDB_MODE`` is set; ``wandb sync`` sends what is there. Needs the extra ``tracking``."""

    draws: ClassVar[bool] = True

    def __init__(self, run: Followed) -> None:
        super().__init__(run)
        self._wandb = imported("wandb")
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "usd-bench"),
            mode=os.environ.get("WANDB_MODE", "offline"),
            dir=run.folder,
            id=run.run_id[:32],
            resume="allow",
            name=run.label,
            config=dict(run.facts),
            settings=self._wandb.Settings(silent=True, console="off", save_code=False, disable_git=True),
        )

    def log(self, row: Mapping[str, Any]) -> None:
        self._run.log(scalars(row), step=row["iteration"], commit=False)

    def draw(self, iteration: int, figure: Figure) -> None:
        self._run.log({"fields": self._wandb.Image(figure)}, step=iteration, commit=False)

    def close(self) -> None:
        self._run.finish()
