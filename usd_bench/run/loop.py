"""The loop: init, step, measure, until a target is reached or the budget is spent. Runs inside the worker.

The clock here counts solver time only; the device is synchronised before it is read.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from usd_bench.metrics import Metric, compute, measure
from usd_bench.problem import Problem
from usd_bench.profile import Profile
from usd_bench.run.budget import Budget
from usd_bench.solver import Solver, State
from usd_bench.store.schema import METRICS

MEASURING_LIMIT = 10
"""Evaluation may take this many times the solver's budget, or a solver with cheap steps would never end."""


FINISHED = "the solver can do no better"
"""Reason of a run whose solver has finished short of its targets."""


@dataclass
class Outcome:
    """How a run ended, and everything measured on the way. Filled as the run goes, so that a crash keeps it."""

    status: str = ""
    reason: str = ""
    trace: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    """The trace row of the profile that is stored: the one that met the targets, else the one with the smallest
    residual and violation of side conditions, whichever of the two is larger."""
    iterations: int = 0
    time_setup: float = 0.0


@dataclass
class Observer:
    """What the loop tells the outside, and asks of it. Each call is outside the solver's clock."""

    on_start: Callable[[], None]
    on_evaluation: Callable[[dict[str, Any], State, Profile, bool], None]
    """Row, state, profile, and whether this is the best so far."""
    on_state: Callable[[State, tuple[float, float], bool, bool], None]
    """The state before every step and at the end, the seconds of solver and evaluation, whether it has been evaluated,
    and whether the run is to stop here."""
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
    spent: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Run one pairing to its end, filling ``outcome``. Exceptions of the solver or problem pass through.

    ``problem`` measures; ``lent`` is the solver's own instance of it, without the held-out points. ``spent``: solver
    and evaluation seconds of the run that this one resumes. All the solver does is on its clock: init, step, profile.
    One that is asked to stop does not measure first, unless it is time to: the run that goes on has the same trace.
    """
    clock = _Clock(device)
    observer.on_start()
    clock.lap()
    state: Any = initial()
    _check_state(state, None)
    solved, evaluated = spent[0] + clock.lap(), spent[1]
    while True:
        n = outcome.iterations = state.iteration
        at_limit = ""
        if budget.max_iter is not None and n >= budget.max_iter:
            at_limit = f"{budget.max_iter} iterations"
        elif budget.max_work is not None and state.counters.evaluations >= budget.max_work:
            at_limit = f"{state.counters.evaluations} evaluations of at most {budget.max_work}"
        out_of_time = solved >= budget.max_time or evaluated >= MEASURING_LIMIT * budget.max_time
        stopping = observer.stop_requested()
        finished = bool(solver.finished(state))
        evaluating = budget.measured_at(n) or bool(at_limit) or out_of_time or finished
        if evaluating:
            clock.lap()
            profile = solver.profile(lent, state)
            solved += clock.lap()
            measured = measure(problem, profile)
            values = compute(metrics, measured)
            evaluated += clock.lap()
            # Profiles of all orders solve one equation: one with λ of another branch is not the one asked for.
            inside = problem.bracket.low <= measured.lam <= problem.bracket.high
            row = _row(measured.lam, values, state, solved, evaluated) | {"in_bracket": inside}
            outcome.trace.append(row)
            finite = all(math.isfinite(row[name]) for name in ("lam", "res_max", "cond_max"))
            named = finite and inside
            reached = named and budget.reached(metrics, values)
            best = named and (reached or outcome.best is None or _badness(row) < _badness(outcome.best))
            if best:
                outcome.best = row
            observer.on_evaluation(row, state, profile, best)
            status, reason = _verdict(row, finite, reached, budget, values, at_limit, out_of_time, finished)
            if finite and not named and reason == FINISHED:
                reason += (
                    f": λ = {measured.lam:.6g} is that of another profile, outside {problem.bracket.low:.6g} … "
                    f"{problem.bracket.high:.6g}"
                )
            if status:
                observer.on_state(state, (solved, evaluated), True, False)
                outcome.status, outcome.reason = status, reason
                return
        observer.on_state(state, (solved, evaluated), evaluating, stopping)
        if stopping:
            outcome.status, outcome.reason = "killed", "interrupted by the user"
            return
        clock.lap()
        state = solver.step(lent, state)
        solved += clock.lap()
        _check_state(state, n + 1)


def _badness(row: Mapping[str, Any]) -> float:
    """What ranks profiles: a small residual is worth nothing where a side condition fails."""
    return max(float(row["res_max"]), float(row["cond_max"]))


def _check_state(state: Any, iteration: int | None) -> None:
    """Hold a solver to the contract on which budgets rest: a State, one iteration per step, whole counters."""
    if not isinstance(state, State):
        raise TypeError(f"the solver returned a {type(state).__name__} where a State was expected")
    if type(state.iteration) is not int or (iteration is not None and state.iteration != iteration):
        raise ValueError(f"the solver's step left iteration at {state.iteration!r}; expected {iteration}")
    for name, count in asdict(state.counters).items():
        if type(count) is not int or not 0 <= count < 2**63:
            raise ValueError(f"the solver's counter {name!r} is {count!r}; expected a whole number")


def _verdict(
    row: Mapping[str, Any],
    finite: bool,
    reached: bool,
    budget: Budget,
    values: Mapping[str, float],
    at_limit: str,
    out_of_time: bool,
    finished: bool,
) -> tuple[str, str]:
    if not finite:
        numbers = ", ".join(f"{name} = {row[name]}" for name in ("lam", "res_max", "cond_max"))
        return "diverged", f"{numbers} at iteration {row['iteration']}"
    if reached:
        return "converged", ", ".join(f"{name} = {values[name]:.3g}" for name in budget.until)
    if finished:
        return "budget", FINISHED
    if at_limit:
        return "budget", at_limit
    if out_of_time:
        if row["time_solve_s"] < budget.max_time:
            return (
                "budget",
                f"measuring took {MEASURING_LIMIT} times the solver's {budget.max_time:g} s; raise --eval-every",
            )
        return "budget", f"{budget.max_time:g} s of solver time"
    return "", ""


def _row(lam: float, values: Mapping[str, float], state: State, solved: float, evaluated: float) -> dict[str, Any]:
    known = {name: value for name, value in values.items() if name in METRICS}
    extra = {name: value for name, value in values.items() if name not in METRICS}
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
        self._device = device
        self._cuda = device.startswith("cuda")
        self._last = time.perf_counter()

    def lap(self) -> float:
        if self._cuda:
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        return passed
