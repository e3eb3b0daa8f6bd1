"""The plan: from selectors to jobs, every input checked before the first job starts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from usd_bench.errors import PluginError, SelectorError, UsdBenchError, did_you_mean, one_line
from usd_bench.metrics import Metric
from usd_bench.problem import Problem
from usd_bench.registry import Entry, Registry
from usd_bench.reproducibility import code_identity, digest
from usd_bench.run.budget import Budget
from usd_bench.selectors import Selection, checked, parse
from usd_bench.solver import Solver
from usd_bench.store.schema import METRICS, RUNS, TRACE


@dataclass(frozen=True)
class Job:
    """One run: everything that determines its result, and nothing else. Plain data, sent to a worker as JSON."""

    problem: str
    parameters: dict[str, Any]
    solver: str
    config: dict[str, Any]
    seed: int
    budget: Budget
    device: str
    code: dict[str, str]
    resume: str | None = None
    """SHA-256 of the checkpoint that the run starts from."""
    label: str = ""
    """How people read it, with the settings they gave: ``burgers[order=1] · adam · seed 0``."""

    @property
    def run_id(self) -> str:
        """SHA-256 of the canonical JSON of this job, its label aside."""
        return digest({key: value for key, value in self.to_json().items() if key != "label"})

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"budget": self.budget.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Job:
        return cls(**data | {"budget": Budget(**data["budget"])})


@dataclass(frozen=True)
class Limits:
    """What the user said about budgets; None where the problem's recommendation holds."""

    max_iter: int | None = None
    max_work: int | None = None
    max_time: float | None = None
    until: dict[str, float] | None = None
    eval_every: int | None = None


def plan(
    registry: Registry,
    problems: str | Sequence[Selection],
    solvers: str | Sequence[Selection],
    seeds: Sequence[int],
    limits: Limits,
    device: str = "cpu",
) -> list[Job]:
    """Every problem × solver × seed as a job. Raises ``SelectorError`` for anything unknown or out of range."""
    metrics = load_metrics(registry)
    for name in limits.until or {}:
        if name not in metrics:
            raise SelectorError(f"unknown metric {name!r}{did_you_mean(name, metrics)}")
    chosen_problems = [(s, build_problem(registry, s)) for s in _unique(_selected(problems))]
    chosen_solvers = [(s, build_solver(registry, s)) for s in _unique(_selected(solvers))]
    jobs = []
    for problem_selection, problem in chosen_problems:
        for solver_selection, solver in chosen_solvers:
            entries = registry.get("problems", problem_selection.name), registry.get("solvers", solver_selection.name)
            with _contract(entries[0]):
                parameters = problem.parameters.model_dump(mode="json")
            with _contract(entries[1]):
                config = solver.config.model_dump(mode="json")
            with _contract(entries[0]):
                budget = _budget(problem, solver, limits)
                digest([parameters, config, budget.to_json()])  # plain JSON, or the run could have no identity
                code = code_identity([entry.plugin for entry in entries], problem.reference_path)
            for seed in seeds:
                jobs.append(
                    Job(
                        problem=entries[0].name,
                        parameters=parameters,
                        solver=entries[1].name,
                        config=config,
                        seed=seed,
                        budget=budget,
                        device=device,
                        code=code,
                        label=f"{_text(problem_selection)} · {_text(solver_selection)} · seed {seed}",
                    )
                )
    return list({job.run_id: job for job in jobs}.values())


def load_metrics(registry: Registry) -> dict[str, Metric]:
    """Every metric by its registered name, the harness's own first: a plugin's could change what it is handed.

    Raises ``PluginError`` for what is not a metric, or takes the name of a column.
    """
    found: dict[str, Metric] = {}
    for entry in sorted(registry.of("metrics"), key=lambda entry: entry.name not in METRICS):
        metric = entry.load()
        if not isinstance(metric, Metric):
            raise PluginError(f"metric {entry.name!r} of plugin {entry.plugin} is {metric!r}, which is not a Metric")
        if entry.name not in METRICS and entry.name in (*RUNS.names, *TRACE.names):
            raise PluginError(f"metric {entry.name!r} of plugin {entry.plugin} has the name of a column; rename it")
        found[entry.name] = metric
    return found


@contextmanager
def _contract(entry: Entry) -> Iterator[None]:
    """Whatever a plugin's class raises while it is set up is the plugin's fault, said in one line."""
    try:
        yield
    except UsdBenchError:
        raise
    except Exception as error:
        raise PluginError(
            f"{entry.name!r} of plugin {entry.plugin} does not keep the contract: {one_line(error)}"
        ) from error


def build_problem(registry: Registry, selection: Selection) -> Problem:
    """The selected problem with its checked parameters."""
    entry = registry.get("problems", selection.name)
    cls = entry.load()
    _must_be(cls, Problem, selection.name)
    with _contract(entry):
        parameters = checked(selection.name, cls.Parameters, selection.parameters)
        problem: Problem = cls(**parameters.model_dump())
    return problem


def build_solver(registry: Registry, selection: Selection) -> Solver:
    """The selected solver with its checked config."""
    entry = registry.get("solvers", selection.name)
    cls = entry.load()
    _must_be(cls, Solver, selection.name)
    with _contract(entry):
        solver: Solver = cls(checked(selection.name, cls.Config, selection.parameters))
    return solver


def _budget(problem: Problem, solver: Solver, limits: Limits) -> Budget:
    recommended = problem.recommended
    if solver.eval_every < 1:
        raise ValueError(f"eval_every is {solver.eval_every}; expected at least 1")
    return Budget(
        max_iter=limits.max_iter,
        max_work=limits.max_work,
        max_time=recommended.max_time if limits.max_time is None else limits.max_time,
        until=dict(recommended.until if limits.until is None else limits.until),
        eval_every=limits.eval_every or solver.eval_every,
    )


def _selected(selections: str | Sequence[Selection]) -> Sequence[Selection]:
    return parse(selections) if isinstance(selections, str) else selections


def _unique(selections: Iterable[Selection]) -> list[Selection]:
    seen: dict[str, Selection] = {}
    for selection in selections:
        seen.setdefault(json.dumps([selection.name, selection.parameters], sort_keys=True), selection)
    return list(seen.values())


def _must_be(cls: Any, base: type, name: str) -> None:
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise SelectorError(f"{name!r} is registered as {cls!r}, which is not a {base.__name__}")


def _text(selection: Selection) -> str:
    shown = ",".join(f"{key}={value}" for key, value in selection.parameters.items())
    return f"{selection.name}[{shown}]" if shown else selection.name
