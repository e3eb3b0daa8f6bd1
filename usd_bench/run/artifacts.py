"""The files of a run beside its rows: checkpoints, the profile, and what trackers write."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from usd_bench.errors import CheckpointError, SelectorError, UsdBenchError
from usd_bench.files import write_atomically
from usd_bench.problem import Problem
from usd_bench.profile import Profile
from usd_bench.registry import Entry, Registry
from usd_bench.run.checkpoint import BEST, LAST, TRACE, Every, Interrupted, forget, identity, write_checkpoint
from usd_bench.run.pairing import effective
from usd_bench.run.plan import Job, build_problem, build_solver
from usd_bench.selectors import Selection
from usd_bench.solver import State
from usd_bench.tensorfile import kind_of, read_tensors, write_tensors
from usd_bench.tracking import Followed, Tracker
from usd_bench.tracking.fields import fields_figure

SHARE = 0.1
"""Largest share of a run's time that writing checkpoints may take, and drawing for trackers, unless told how often."""

ALWAYS = "csv"
"""The tracker that follows every run."""

PROFILE, CONFIG = "profile.safetensors", "config.yaml"

LEFT = (BEST, LAST, PROFILE, "run.png", "spectrum.json", "spectrum.safetensors", "spectrum.png")
"""What a run leaves; removed when it is repeated, so that no file belongs to another attempt than its row."""


def profile_path(out: Path, row: Mapping[str, Any]) -> Path:
    """Where the profile of a stored run lies. Raises ``CheckpointError`` when there is none."""
    path = out / "artifacts" / str(row["run_id"]) / PROFILE
    if not path.is_file():
        raise CheckpointError(f"run {row['run_id'][:8]} stored no profile: it ended {row['status']}: {row['reason']}")
    return path


def load_profile(registry: Registry, out: Path, row: Mapping[str, Any]) -> tuple[Problem, Profile]:
    """The problem of a stored run and its profile. Raises ``CheckpointError`` when the file is not there or damaged."""
    return restored(registry, profile_path(out, row))[1:]


def restored(registry: Registry, path: Path) -> tuple[dict[str, Any], Problem, Profile]:
    """Header, problem and profile of a checkpoint or of a stored profile. Raises ``CheckpointError``."""
    kind = kind_of(path)
    header, tensors = read_tensors(path, "profile" if kind == "profile" else "checkpoint")
    try:
        problem = build_problem(registry, Selection(header["problem"], header["parameters"]))
        solver = build_solver(registry, Selection(header["solver"], header["config"]))
    except SelectorError as error:
        hint = "install the plugin that it came with, or give its folder with --plugins-dir"
        raise CheckpointError(f"{path} needs what is not here: {error}; {hint}") from None
    if kind == "profile":
        return header, problem, solver.restore(problem, header["lam"], tensors)
    return header, problem, solver.profile(problem, solver.State.from_tensors(tensors, "cpu"))


class Artifacts:
    """The files of a run, written while it goes.

    ``every``: how often checkpoints are written; None: at every evaluation, while that takes a small share of the time.
    ``since``: where the run was interrupted, if it goes on. ``trackers``: names of those to follow it; ``warn`` is told
    of their failures.
    """

    def __init__(
        self,
        out: Path,
        job: Job,
        registry: Registry,
        problem: Problem,
        threads: int,
        warn: Callable[[str], object],
        trackers: Sequence[str] = (),
        every: Every | None = None,
        since: Interrupted | None = None,
    ) -> None:
        folder = out / "artifacts" / job.run_id
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._problem, self._every, self._warn = folder, problem, every, warn
        self._header = identity(job.problem, job.parameters, job.solver, job.config, job.seed, job.run_id)
        if since is None:
            forget(folder)
            for name in LEFT:
                (folder / name).unlink(missing_ok=True)
        lines = since.lines if since else []
        self._trace = (folder / TRACE).open("w", encoding="utf-8")
        for line in lines:
            self._write_line(line)
        write_atomically(folder / CONFIG, effective(job, threads).encode())
        self._last: tuple[dict[str, Any], Mapping[str, Tensor]] | None = None
        self._best: tuple[dict[str, Any], Mapping[str, Tensor], Mapping[str, Tensor]] | None = None
        self._began = time.monotonic()
        self._writing = self._drawing = 0.0
        self._undrawn: tuple[int, Profile] | None = None
        self._written = since.iteration if since else 0, self._began
        self._trackers: list[Tracker] = []
        followed = Followed(folder, out, job.run_id, job.label, self._header, [line["tracked"] for line in lines])
        for name in dict.fromkeys((ALWAYS, *trackers)):
            self._guarded(name, partial(self._start, registry.get("trackers", name), followed))

    def _start(self, entry: Entry, followed: Followed) -> None:
        self._trackers.append(entry.load()(followed))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._flush()
        self._trace.close()
        if self._undrawn is not None:
            self._draw(*self._undrawn)
        for tracker in self._trackers:
            self._guarded(type(tracker).__name__, tracker.close)

    def restore_best(self, row: Mapping[str, Any], state: State, profile: Profile) -> None:
        """Put the files of the best profile back to what they were at the iteration from which the run goes on."""
        self._take_best(row, state, profile)
        self._flush()

    def _take_best(self, row: Mapping[str, Any], state: State, profile: Profile) -> None:
        columns = ("iteration", "lam", "res_max", "time_solve_s", "time_eval_s")
        header = self._header | {name: row[name] for name in columns}
        fields = {name: tensor.detach().cpu().clone() for name, tensor in profile.tensors().items()}
        self._best = header, state.to_tensors(), fields

    def evaluated(
        self, row: Mapping[str, Any], more: Mapping[str, float], state: State, profile: Profile, best: bool
    ) -> None:
        """Take what an evaluation produced. ``more``: what only trackers are told."""
        if best:
            self._take_best(row, state, profile)
        tracked = dict(row) | dict(more)
        self._write_line({"row": row, "best": best, "tracked": tracked})
        for tracker in list(self._trackers):
            if not self._guarded(type(tracker).__name__, partial(tracker.log, tracked)):
                self._trackers.remove(tracker)
        self._undrawn = row["iteration"], profile
        if self._drawing <= SHARE * (time.monotonic() - self._began):
            self._draw(*self._undrawn)

    def passed(self, state: State, spent: tuple[float, float], at_evaluation: bool, stopping: bool) -> None:
        """Take the state of an iteration, with the seconds of solver and evaluation; write it when it is time."""
        now, (iteration, at) = time.monotonic(), self._written
        if self._every is None:
            due = at_evaluation and self._writing <= SHARE * (now - self._began)
        else:
            due = self._every.over(state.iteration - iteration, now - at)
        if due or stopping or at_evaluation:
            times = {"time_solve_s": spent[0], "time_eval_s": spent[1]}
            self._last = self._header | {"iteration": state.iteration} | times, state.to_tensors()
        if due or stopping:
            self._flush()
            self._written = state.iteration, time.monotonic()

    def _flush(self) -> None:
        """The best first: a state is only as good as the best profile before it."""
        began = time.monotonic()
        if self._best is not None:
            header, state, profile = self._best
            write_checkpoint(self._folder / BEST, header, state)
            write_tensors(self._folder / PROFILE, "profile", header, profile)
        if self._last is not None:
            write_checkpoint(self._folder / LAST, *self._last)
        self._best = self._last = None
        self._writing += time.monotonic() - began

    def _write_line(self, line: Mapping[str, Any]) -> None:
        self._trace.write(json.dumps(line) + "\n")
        self._trace.flush()

    def _draw(self, iteration: int, profile: Profile) -> None:
        began, self._undrawn = time.monotonic(), None
        if any(tracker.draws for tracker in self._trackers):
            self._guarded("pictures", partial(self._paint, iteration, profile))
        self._drawing += time.monotonic() - began

    def _paint(self, iteration: int, profile: Profile) -> None:
        with fields_figure(self._problem, profile) as figure:
            for tracker in [tracker for tracker in self._trackers if tracker.draws]:
                if not self._guarded(type(tracker).__name__, partial(tracker.draw, iteration, figure)):
                    self._trackers.remove(tracker)

    def _guarded(self, name: str, call: Callable[[], object]) -> bool:
        """Whether the call went well. A tracker that raises is dropped with a warning and never stops a run."""
        try:
            call()
        except Exception as error:
            reason = str(error) if isinstance(error, UsdBenchError) else f"{type(error).__name__}: {error}"
            self._warn(f"tracker {name} dropped: {reason}")
            return False
        return True
