"""The MLflow tracker: a run in a file store beside the rows, unless the user names a server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from usd_bench.tracking import Followed, Tracker, imported, scalars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT = "usd-bench"
TAG = "usd_bench.run_id"


class MlflowTracker(Tracker):
    """``mlruns/`` in the store, unless ``MLFLOW_TRACKING_URI`` is set. Needs the extra ``tracking``.

    MLflow writes file stores only when ``MLFLOW_ALLOW_FILE_STORE`` is set, which is done here, and has to be for
    ``mlflow ui`` too.
    """

    draws: ClassVar[bool] = True

    def __init__(self, run: Followed) -> None:
        super().__init__(run)
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self._mlflow = imported("mlflow")
        uri = os.environ.get("MLFLOW_TRACKING_URI") or (run.store / "mlruns").resolve().as_uri()
        self._client = self._mlflow.MlflowClient(tracking_uri=uri)
        known = self._client.search_runs([self._experiment()], f"tags.`{TAG}` = '{run.run_id}'") if run.before else []
        if known:
            self._id = known[0].info.run_id
            self._client.set_terminated(self._id, status="RUNNING")
        else:
            tags = {TAG: run.run_id}
            self._id = self._client.create_run(self._experiment(), run_name=run.label, tags=tags).info.run_id
            for name, value in run.facts.items():
                self._client.log_param(self._id, name, value if isinstance(value, str) else json.dumps(value))

    def _experiment(self) -> str:
        for _ in range(2):
            found = self._client.get_experiment_by_name(EXPERIMENT)
            if found is not None:
                return str(found.experiment_id)
            try:
                return str(self._client.create_experiment(EXPERIMENT))
            except self._mlflow.MlflowException:  # another worker was faster
                time.sleep(0.5)
        raise OSError(f"MLflow neither finds nor makes the experiment {EXPERIMENT!r}")

    def log(self, row: Mapping[str, Any]) -> None:
        now = int(time.time() * 1000)
        metric, step = self._mlflow.entities.Metric, row["iteration"]
        metrics = [metric(name, value, now, step) for name, value in scalars(row).items()]
        self._client.log_batch(self._id, metrics=metrics)

    def draw(self, iteration: int, figure: Figure) -> None:
        self._client.log_figure(self._id, figure, f"fields/{iteration:08d}.png")

    def close(self) -> None:
        self._client.set_terminated(self._id)
