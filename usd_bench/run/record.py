"""The row of a run, from what is known about it: written by the worker, or by the parent of one that died."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from usd_bench.reproducibility import commit
from usd_bench.run.loop import Outcome
from usd_bench.run.plan import Job
from usd_bench.store.schema import RUNS


@dataclass
class Setting:
    """Where and how a job ran: what the row says beyond job and outcome."""

    threads: int
    started_at: datetime
    device_name: str
    lam_ref: float | None = None
    dtype: str | None = None
    peak_rss_mib: float | None = None
    peak_gpu_mib: float | None = None
    contended: bool | None = None

    @classmethod
    def begin(cls, job: Job, threads: int) -> Setting:
        return cls(threads=threads, started_at=datetime.now(UTC), device_name=job.device)


def run_row(job: Job, outcome: Outcome, setting: Setting) -> dict[str, Any]:
    """One row for ``runs/``. Measured columns describe the best profile; work and time the whole run."""
    last = outcome.trace[-1] if outcome.trace else {}
    measured = outcome.best or last
    order = job.parameters.get("order", 0)
    row = {name: measured.get(name) for name in RUNS.names if name in measured}
    row.update({name: last.get(name) for name in RUNS.names if name.startswith(("n_", "time_")) and name in last})
    row.update(
        run_id=job.run_id,
        problem=job.problem,
        order=order if isinstance(order, int) and abs(order) < 2**63 else None,
        parameters=json.dumps(job.parameters, sort_keys=True),
        solver=job.solver,
        config=json.dumps(job.config, sort_keys=True),
        seed=job.seed,
        budget=json.dumps(job.budget.to_json(), sort_keys=True),
        status=outcome.status,
        reason=outcome.reason,
        lam_ref=setting.lam_ref,
        iterations=outcome.iterations,
        iteration_best=measured.get("iteration"),
        time_setup_s=outcome.time_setup,
        peak_rss_mib=setting.peak_rss_mib,
        peak_gpu_mib=setting.peak_gpu_mib,
        device=setting.device_name,
        dtype=setting.dtype,
        threads=setting.threads,
        contended=setting.contended,
        commit=commit(),
        code=json.dumps(job.code, sort_keys=True),
        resume=job.resume,
        started_at=setting.started_at,
    )
    return row
