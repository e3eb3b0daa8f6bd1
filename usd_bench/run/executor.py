"""The executor: a process per job, watched, so that a hung, killed or crashed one still becomes a row.

The parent never computes. It starts workers in sessions of their own (an interrupt reaches the parent alone),
hears their events, ends those that do not answer, and writes the row that a dead worker could not write.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from usd_bench.errors import StoreError
from usd_bench.reproducibility import environment, worker_environment
from usd_bench.run.loop import Outcome
from usd_bench.run.plan import Job
from usd_bench.run.record import Setting, run_row
from usd_bench.store.writer import write_run

Events = queue.Queue[tuple[float, str, str | None]]
"""When it was heard, the run_id, and a line of the worker, or None for its end."""

SETUP_LIMIT = 300.0
"""Seconds a worker may take to import and set up before it counts as hung."""


@dataclass(frozen=True)
class Event:
    """Something a job reports: ``restored``, ``started``, ``evaluation``, ``warning`` or ``done``, with its data."""

    job: Job
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Following:
    """What goes along with runs and changes no number: trackers by name, how often checkpoints are written, and which
    runs (by id) begin anew where an interrupted one could go on.
    """

    track: tuple[str, ...] = ()
    checkpoint_every: str | None = None
    anew: frozenset[str] = frozenset()


NOTHING_ELSE = Following()
"""What goes along with runs of which nobody asked for anything."""


@dataclass
class _Worker:
    """A running job as the parent sees it."""

    job: Job
    process: subprocess.Popen[str]
    setting: Setting
    log: Path
    outcome: Outcome = field(default_factory=Outcome)
    began: float = field(default_factory=time.monotonic)
    solving_since: float | None = None
    heard: float = field(default_factory=time.monotonic)
    longest_silence: float = 0.0
    """Between two evaluations so far: what this job's iterations take, so that slow is not mistaken for hung."""
    ended_by_us: tuple[str, str] | None = None
    """Status and reason, when the parent killed it."""

    def deadline(self, grace: float) -> float:
        """When to stop waiting: the budget is over, and the job has been silent for longer than it ever was."""
        if self.solving_since is None:
            return self.began + SETUP_LIMIT
        evaluated = float(self.outcome.trace[-1]["time_eval_s"]) if self.outcome.trace else 0.0
        budget_over = self.solving_since + self.job.budget.max_time + evaluated
        return max(budget_over, self.heard + 2 * self.longest_silence) + grace


def execute(
    jobs: Sequence[Job],
    out: Path,
    *,
    parallel: int,
    threads: int,
    grace: float = 10.0,
    plugin_dirs: Sequence[Path] = (),
    resume: Path | None = None,
    following: Following = NOTHING_ELSE,
    on_event: Callable[[Event], None],
    stopping: Callable[[], bool] = lambda: False,
) -> bool:
    """Run the jobs, ``parallel`` at a time. Returns whether the user interrupted; then the rest was not started.

    ``stopping``: whether the user has interrupted elsewhere. Raises ``StoreError`` when results cannot be written.
    """
    waiting, running = deque(jobs), dict[str, _Worker]()
    events: Events = queue.Queue()
    told = 0
    with counted_interrupts() as interrupts:
        try:
            while waiting or running:
                asked = interrupts() or int(stopping())
                if asked > told:
                    waiting.clear()
                    for worker in running.values():
                        _say_stop(worker) if asked == 1 else _kill(worker, "killed", "interrupted by the user")
                    told = asked
                while waiting and len(running) < parallel:
                    worker = _start(waiting.popleft(), out, threads, plugin_dirs, resume, following, events)
                    running[worker.job.run_id] = worker
                for heard, run_id, line in _drain(events):
                    worker = running[run_id]
                    if line is not None:
                        _hear(worker, heard, line, on_event)
                    else:
                        del running[run_id]
                        _bury(worker, out, on_event)
                # Judged only after everything that was said has been heard.
                now = time.monotonic()
                for worker in running.values():
                    if now > worker.deadline(grace) and worker.ended_by_us is None:
                        _kill(worker, "timeout", _timeout_reason(worker, now))
        finally:
            for worker in running.values():
                _end(worker.process)
                _hang_up(worker)
    return told > 0


@contextlib.contextmanager
def counted_interrupts() -> Iterator[Callable[[], int]]:
    """How often the user has interrupted since; always 0 in a thread that is not told."""
    count = 0

    def interrupted(signum: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1

    handled = [signal.SIGINT, signal.SIGTERM] if threading.current_thread() is threading.main_thread() else []
    previous = {s: signal.signal(s, interrupted) for s in handled}
    try:
        yield lambda: count
    finally:
        for s, handler in previous.items():
            signal.signal(s, handler)


def _start(
    job: Job,
    out: Path,
    threads: int,
    plugin_dirs: Sequence[Path],
    resume: Path | None,
    following: Following,
    events: Events,
) -> _Worker:
    folder = out / "artifacts" / job.run_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = (folder / "worker.log").open("w", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror or error}") from error
    with log:
        process = subprocess.Popen(
            [sys.executable, "-m", "usd_bench.run.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            env=os.environ | worker_environment(threads),
            start_new_session=os.name == "posix",
        )
    request = {
        "job": job.to_json(),
        "out": str(out.resolve()),
        "threads": threads,
        "plugin_dirs": [str(d.resolve()) for d in plugin_dirs],
        "started": time.time(),
        "resume": None if resume is None else str(resume.resolve()),
        "go_on": resume is None and job.run_id not in following.anew,
        "track": following.track,
        "checkpoint_every": following.checkpoint_every,
    }
    _write(process, json.dumps(request))

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            events.put((time.monotonic(), job.run_id, line))

    listener = threading.Thread(target=listen, daemon=True)

    def wait() -> None:
        """A worker's end is its process's end: children of it may hold the pipe open for ever."""
        process.wait()
        _end(process)
        listener.join(timeout=5)
        if process.stdout is not None and not listener.is_alive():
            process.stdout.close()
        events.put((time.monotonic(), job.run_id, None))

    listener.start()
    threading.Thread(target=wait, daemon=True).start()
    return _Worker(job, process, Setting.begin(job, threads), folder / "worker.log")


def _drain(events: Events) -> Iterator[tuple[float, str, str | None]]:
    """What has been said, waiting a moment for the first word."""
    with contextlib.suppress(queue.Empty):
        yield events.get(timeout=0.2)
        while True:
            yield events.get_nowait()


def _hear(worker: _Worker, heard: float, line: str, on_event: Callable[[Event], None]) -> None:
    try:
        message = json.loads(line)
        kind = message.pop("event")
    except (ValueError, AttributeError, KeyError, TypeError):
        return  # a plugin wrote to the pipe: not an event
    outcome = worker.outcome
    if kind == "refused":
        raise StoreError(message["reason"])
    if kind == "restored":
        outcome.trace, outcome.best = message["rows"], message["best"]
    elif kind == "started":
        worker.solving_since = worker.heard = heard
        outcome.time_setup = message["time_setup"]
        worker.setting.device_name, worker.setting.lam_ref = message["device_name"], message["lam_ref"]
    elif kind == "evaluation":
        worker.longest_silence = max(worker.longest_silence, heard - worker.heard)
        worker.heard = heard
        outcome.trace.append(message["row"])
        outcome.iterations = message["row"]["iteration"]
        worker.setting.dtype = message["dtype"]
        if message["best"]:
            outcome.best = message["row"]
    elif kind == "done":
        outcome.status, outcome.reason = message["status"], message["reason"]
    on_event(Event(worker.job, kind, message))


def _bury(worker: _Worker, out: Path, on_event: Callable[[Event], None]) -> None:
    """A worker has ended: nothing to do if it stored its row, else store what is known."""
    process, outcome = worker.process, worker.outcome
    _hang_up(worker)
    if outcome.status:
        return
    outcome.status, outcome.reason = worker.ended_by_us or _cause_of_death(process.returncode, worker.log)
    write_run(out, run_row(worker.job, outcome, worker.setting), outcome.trace, environment())
    on_event(Event(worker.job, "done", {"status": outcome.status, "reason": outcome.reason}))


def _hang_up(worker: _Worker) -> None:
    if worker.process.stdin is not None:
        with contextlib.suppress(OSError):
            worker.process.stdin.close()


def _cause_of_death(code: int, log: Path) -> tuple[str, str]:
    if code < 0:
        known = {s.value: s.name for s in signal.Signals}
        name = known.get(-code, f"signal {-code}")
        if -code in (signal.SIGKILL, signal.SIGTERM):
            return "killed", f"the worker was ended from outside by {name}: a person, or the system for lack of memory"
        return "error", f"the worker crashed with {name}; see {log}"
    return "error", f"the worker exited with code {code} and stored nothing; see {log}"


def _timeout_reason(worker: _Worker, now: float) -> str:
    if worker.solving_since is None:
        return f"no sign of life {SETUP_LIMIT:g} s after the start; killed"
    silence, limit = now - worker.heard, worker.job.budget.max_time
    return f"no answer for {silence:.0f} s, with the solver's {limit:g} s over; killed"


def _say_stop(worker: _Worker) -> None:
    _write(worker.process, "stop")


def _kill(worker: _Worker, status: str, reason: str) -> None:
    worker.ended_by_us = status, reason
    _end(worker.process)


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a worker and whatever it has started, which shares its session."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _write(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    except (BrokenPipeError, OSError):
        pass  # it has died; its end will be heard
