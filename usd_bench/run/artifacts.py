"""The files of a run beside its rows: checkpoints, the profile, and what trackers write."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

from usd_bench.errors import CheckpointError
from usd_bench.problem import Problem
from usd_bench.profile import Profile
from usd_bench.registry import Entry, Registry
from usd_bench.run.plan import Job, build_problem, build_solver
from usd_bench.selectors import Selection
from usd_bench.solver import State
from usd_bench.tensorfile import read_tensors, write_tensors
from usd_bench.tracking import Tracker

SHARE = 0.1
"""Largest share of a run's time that writing checkpoints may take; below it, each evaluation is written at once."""

NAMES = (
    "best.ckpt",
    "last.ckpt",
    "profile.safetensors",
    "run.png",
    "spectrum.json",
    "spectrum.safetensors",
    "spectrum.png",
)
"""What a run leaves; removed when it is repeated, so that no file belongs to another attempt than its row."""


def load_profile(registry: Registry, out: Path, row: Mapping[str, Any]) -> tuple[Problem, Profile]:
    """The problem of a stored run and its profile. Raises ``CheckpointError`` when the file is not there or damaged."""
    problem = build_problem(registry, Selection(row["problem"], json.loads(row["parameters"])))
    solver = build_solver(registry, Selection(row["solver"], json.loads(row["config"])))
    path = out / "artifacts" / row["run_id"] / "profile.safetensors"
    if not path.is_file():
        raise CheckpointError(f"run {row['run_id'][:8]} stored no profile: it ended {row['status']}: {row['reason']}")
    header, tensors = read_tensors(path, "profile")
    return problem, solver.restore(problem, header["lam"], tensors)


class Artifacts:
    """The files of a run: ``last.ckpt``, ``best.ckpt``, ``profile.safetensors``, and what the trackers write."""

    def __init__(self, folder: Path, job: Job, registry: Registry) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._header = {
            "problem": job.problem,
            "parameters": job.parameters,
            "solver": job.solver,
            "config": job.config,
            "seed": job.seed,
            "run_id": job.run_id,
        }
        for name in NAMES:
            (folder / name).unlink(missing_ok=True)
        self._pending: dict[str, tuple[str, dict[str, Any], Mapping[str, Any]]] = {}
        self._began = time.monotonic()
        self._writing = 0.0
        self._trackers: list[Tracker] = []
        for entry in registry.of("trackers"):
            self._guarded(entry.name, partial(self._start, entry))

    def _start(self, entry: Entry) -> None:
        self._trackers.append(entry.load()(self._folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._flush()
        for tracker in self._trackers:
            self._guarded(type(tracker).__name__, tracker.close)

    def offer(self, row: Mapping[str, Any], state: State, profile: Profile, best: bool) -> None:
        """Take what an evaluation produced; write it at once or soon."""
        columns = ("iteration", "lam", "res_max", "time_solve_s", "time_eval_s")
        header = self._header | {name: row[name] for name in columns}
        tensors = state.to_tensors()
        self._pending["last.ckpt"] = ("checkpoint", header, tensors)
        if best:
            self._pending["best.ckpt"] = ("checkpoint", header, tensors)
            fields = {name: tensor.detach().cpu().clone() for name, tensor in profile.tensors().items()}
            self._pending["profile.safetensors"] = ("profile", header, fields)
        if self._writing <= SHARE * (time.monotonic() - self._began):
            self._flush()
        for tracker in list(self._trackers):
            if not self._guarded(type(tracker).__name__, partial(tracker.log, dict(row))):
                self._trackers.remove(tracker)

    def _flush(self) -> None:
        began = time.monotonic()
        for name, (kind, header, tensors) in self._pending.items():
            write_tensors(self._folder / name, kind, header, tensors)
        self._pending.clear()
        self._writing += time.monotonic() - began

    def _guarded(self, name: str, call: Callable[[], object]) -> bool:
        """Whether the call went well. A tracker that raises is named in the log and never stops a run."""
        try:
            call()
        except Exception as error:
            print(f"tracker {name} dropped: {type(error).__name__}: {error}", file=sys.stderr)
            return False
        return True
