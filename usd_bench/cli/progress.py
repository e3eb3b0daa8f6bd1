"""Progress of a run: live bars on a terminal, plain lines elsewhere, nothing when quiet. All on standard error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from usd_bench.run.budget import Budget
from usd_bench.run.executor import Event

EVERY = 10.0
"""Seconds between two plain lines of one job."""


class Display(Protocol):
    """Told every event of every job."""

    def __call__(self, event: Event) -> None: ...


@contextmanager
def display(total: int, quiet: bool) -> Iterator[Display]:
    """The display that fits where standard error goes."""
    console = Console(stderr=True, highlight=False, markup=False)
    if quiet:
        yield lambda event: None
    elif console.is_terminal:
        with _bars(console) as progress:
            yield _Bars(progress, total)
    else:
        yield _Lines(console, total)


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
    )


class _Bars:
    """A bar for all jobs, and one for each that runs, filled by the share of its budget that is spent."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._all = progress.add_task(f"{total} runs", total=total, note="")
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        key = event.job.run_id
        if event.kind == "started":
            self._tasks[key] = self._progress.add_task(event.job.label, total=1.0, note="")
        elif event.kind == "evaluation" and key in self._tasks:
            share, left = spent(event.job.budget, event.data["row"])
            note = f"{numbers(event.data['row'])}, at most {left} left"
            self._progress.update(self._tasks[key], completed=share, note=note)
        elif event.kind == "done":
            self._progress.console.print(_ending(event))
            if key in self._tasks:
                self._progress.remove_task(self._tasks.pop(key))
            self._progress.advance(self._all)


class _Lines:
    """A line when a job starts and ends, and now and then between."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._done = 0
        self._last: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        key, now = event.job.run_id, time.monotonic()
        if event.kind == "started":
            self._last[key] = now
            self._print(f"start  {event.job.label}")
        elif event.kind == "evaluation" and now - self._last.get(key, now) >= EVERY:
            self._last[key] = now
            _, left = spent(event.job.budget, event.data["row"])
            self._print(f"       {event.job.label}: {numbers(event.data['row'])}, at most {left} left")
        elif event.kind == "done":
            self._done += 1
            self._print(f"{self._done}/{self._total}    {_ending(event)}")

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)


def _ending(event: Event) -> str:
    return f"{event.data['status']}: {event.job.label} ({event.data['reason']})"


def numbers(row: dict[str, Any]) -> str:
    """Iteration, λ and residual of an evaluation."""
    return f"iteration {row['iteration']}, λ = {row['lam']:.8f}, res_max = {row['res_max']:.1e}"


def spent(budget: Budget, row: dict[str, Any]) -> tuple[float, str]:
    """Share of the budget that is spent, and the most time that is left, as ``1:05``."""
    share = row["time_solve_s"] / budget.max_time if budget.max_time else 1.0
    left = budget.max_time - row["time_solve_s"]
    if budget.max_iter:
        by_iterations = row["iteration"] / budget.max_iter
        if row["iteration"]:
            left = min(left, row["time_solve_s"] * (budget.max_iter / row["iteration"] - 1))
        share = max(share, by_iterations)
    minutes, seconds = divmod(max(0, round(left)), 60)
    return min(share, 1.0), f"{minutes}:{seconds:02d}"
