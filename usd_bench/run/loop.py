"""The loop: init, step, measure, until a target is reached or the budget is spent. Runs inside the worker.

The clock here counts solver time only; the device is synchronised before it is read.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from usd_bench.metrics import Metric, compute, measure
from usd_bench.problem import Problem
from usd_bench.profile import Profile
from usd_bench.run.budget import Budget
from usd_bench.solver import Solver, State
from usd_bench.store.schema import TRACE


@dataclass
class Outcome:
    """How a run ended, and everything measured on the way. Filled as the run goes, so that a crash keeps it."""

    status: str = ""
    reason: str = ""
    trace: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    """The trace row with the smallest res_max, whose profile is stored."""
    iterations: int = 0
    time_setup: float = 0.0


@dataclass
class Observer:
    """What the loop tells the outside, and asks of it. Each call is outside the solver's clock."""

    on_start: Callable[[], None]
    on_evaluation: Callable[[dict[str, Any], State, Profile, bool], None]
    """Row, state, profile, and whether this is the best so far."""
    stop_requested: Callable[[], bool]


def drive(
    problem: Problem,
    lent: Problem,
    solver: Solver,
    budget: Budget,
    metrics: Mapping[str, Metric],
    initial: Callable[[], State],
    device: str,
    observer: Observer,
    outcome: Outcome,
) -> None:
    """Run one pairing to its end, filling ``outcome``. Exceptions of the solver or problem pass through.

    ``problem`` measures; ``lent`` is the solver's own instance of it, without the held-out points.
    """
    clock = _Clock(device)
    state: Any = initial()
    outcome.time_setup = clock.lap()
    observer.on_start()
    solved, evaluated = 0.0, 0.0
    while True:
        n = outcome.iterations = state.iteration
        at_limit = budget.max_iter is not None and n >= budget.max_iter
        out_of_time = solved >= budget.max_time
        stopping = observer.stop_requested()
        if n % budget.eval_every == 0 or _early(n) or at_limit or out_of_time or stopping:
            clock.lap()
            profile = solver.profile(lent, state)
            values = compute(metrics.values(), measure(problem, profile))
            evaluated += clock.lap()
            row = _row(profile.lam, values, state, solved, evaluated)
            outcome.trace.append(row)
            finite = math.isfinite(row["lam"]) and math.isfinite(row["res_max"])
            best = finite and (outcome.best is None or row["res_max"] < outcome.best["res_max"])
            if best:
                outcome.best = row
            observer.on_evaluation(row, state, profile, best)
            outcome.status, outcome.reason = _verdict(
                row, finite, budget, metrics, values, at_limit, out_of_time, stopping
            )
            if outcome.status:
                return
        clock.lap()
        state = solver.step(lent, state)
        solved += clock.lap()


def _early(iteration: int) -> bool:
    """Also measure at 1, 2, 4, 8, ...: curves on a logarithmic axis need their beginning."""
    return iteration & (iteration - 1) == 0


def _verdict(
    row: Mapping[str, Any],
    finite: bool,
    budget: Budget,
    metrics: Mapping[str, Metric],
    values: Mapping[str, float],
    at_limit: bool,
    out_of_time: bool,
    stopping: bool,
) -> tuple[str, str]:
    if not finite:
        return "diverged", f"λ = {row['lam']}, res_max = {row['res_max']} at iteration {row['iteration']}"
    if budget.reached(metrics, values):
        return "converged", ", ".join(f"{name} = {values[name]:.3g}" for name in budget.until)
    if stopping:
        return "killed", "interrupted by the user"
    if at_limit:
        return "budget", f"{budget.max_iter} iterations"
    if out_of_time:
        return "budget", f"{budget.max_time:g} s of solver time"
    return "", ""


def _row(lam: float, values: Mapping[str, float], state: State, solved: float, evaluated: float) -> dict[str, Any]:
    known = {name: value for name, value in values.items() if name in TRACE.names}
    extra = {name: value for name, value in values.items() if name not in TRACE.names}
    return {
        "iteration": state.iteration,
        "lam": lam,
        **known,
        "metrics": json.dumps({k: v if math.isfinite(v) else None for k, v in extra.items()}) if extra else None,
        "n_residual": state.counters.residual,
        "n_jacobian": state.counters.jacobian,
        "n_jvp": state.counters.jvp,
        "n_vjp": state.counters.vjp,
        "n_linear_solve": state.counters.linear_solve,
        "time_solve_s": solved,
        "time_eval_s": evaluated,
    }


class _Clock:
    """A stopwatch that waits for the device before it is read."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self._last = time.perf_counter()

    def lap(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        return passed
