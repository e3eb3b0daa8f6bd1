"""Progress of a run: live lines on a terminal, plain lines elsewhere, nothing when quiet. All on standard error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

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
        yield lambda event: _warned(console, event)
    elif console.is_terminal:
        with _live(console) as progress:
            yield _Live(progress, total)
    else:
        yield _Lines(console, total)


def _live(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True)),
        TimeElapsedColumn(),
        console=console,
        expand=True,
    )


class _Live:
    """A line for all jobs, and a live one for each that runs."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._all = progress.add_task(f"0 of {total} runs", note="")
        self._total = total
        self._done = 0
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        key = event.job.run_id
        _warned(self._progress.console, event)
        if event.kind == "started":
            self._tasks[key] = self._progress.add_task(event.job.label, note="")
        elif event.kind == "evaluation" and key in self._tasks:
            row = event.data["row"]
            note = f"it {row['iteration']}  λ {row['lam']:.6f}  res {row['res_max']:.1e}"
            self._progress.update(self._tasks[key], note=f"{note}  {left(event.job.budget, row)} left")
        elif event.kind == "done":
            self._done += 1
            self._progress.console.print(_ending(event), soft_wrap=True)
            if key in self._tasks:
                self._progress.remove_task(self._tasks.pop(key))
            self._progress.update(self._all, description=f"{self._done} of {self._total} runs")


class _Lines:
    """A line when a job starts and ends, and now and then between."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._done = 0
        self._last: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        key, now = event.job.run_id, time.monotonic()
        _warned(self._console, event)
        if event.kind == "started":
            self._last[key] = now
            at = event.data["iteration"]
            self._print(f"{'go on ' if at else 'start '} {event.job.label}" + (f" from iteration {at}" if at else ""))
        elif event.kind == "evaluation" and now - self._last.get(key, now) >= EVERY:
            self._last[key] = now
            row = event.data["row"]
            numbers = f"iteration {row['iteration']}, λ = {row['lam']:.8f}, res_max = {row['res_max']:.1e}"
            self._print(f"       {event.job.label}: {numbers}, at most {left(event.job.budget, row)} left")
        elif event.kind == "done":
            self._done += 1
            self._print(f"{self._done}/{self._total}    {_ending(event)}")

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)


def _warned(console: Console, event: Event) -> None:
    if event.kind == "warning":
        console.print(f"Warning: {event.job.label}: {event.data['text']}", soft_wrap=True)


def _ending(event: Event) -> str:
    return f"{event.data['status']}: {event.job.label} ({event.data['reason']})"


def left(budget: Budget, row: dict[str, Any]) -> str:
    """The most time that is left, as ``1:05``: by the clock, or by the iterations at the rate so far."""
    solved, iteration = row["time_solve_s"], row["iteration"]
    seconds = budget.max_time - solved
    if budget.max_iter and iteration:
        seconds = min(seconds, solved * (budget.max_iter / iteration - 1))
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{rest:02d}"
