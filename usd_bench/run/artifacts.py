"""The files of a run beside its rows: checkpoints, the profile, and what trackers write."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

from usd_bench.profile import Profile
from usd_bench.registry import Entry, Registry
from usd_bench.run.checkpoint import write_tensors
from usd_bench.run.plan import Job
from usd_bench.solver import State
from usd_bench.tracking import Tracker

FLUSH_EVERY = 5.0
"""Seconds between two writes of checkpoints while a run goes on."""


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
            "run_id": job.run_id,
        }
        self._pending: dict[str, tuple[str, dict[str, Any], Mapping[str, Any]]] = {}
        self._flushed = time.monotonic()
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
        header = self._header | {"iteration": row["iteration"], "lam": row["lam"], "res_max": row["res_max"]}
        tensors = state.to_tensors()
        self._pending["last.ckpt"] = ("checkpoint", header, tensors)
        if best:
            self._pending["best.ckpt"] = ("checkpoint", header, tensors)
            self._pending["profile.safetensors"] = ("profile", header, profile.tensors())
        if time.monotonic() - self._flushed > FLUSH_EVERY:
            self._flush()
        for tracker in list(self._trackers):
            if not self._guarded(type(tracker).__name__, partial(tracker.log, row)):
                self._trackers.remove(tracker)

    def _flush(self) -> None:
        for name, (kind, header, tensors) in self._pending.items():
            write_tensors(self._folder / name, kind, header, tensors)
        self._pending.clear()
        self._flushed = time.monotonic()

    def _guarded(self, name: str, call: Callable[[], object]) -> bool:
        """Whether the call went well. A tracker that raises is named in the log and never stops a run."""
        try:
            call()
        except Exception as error:
            print(f"tracker {name} dropped: {type(error).__name__}: {error}", file=sys.stderr)
            return False
        return True
