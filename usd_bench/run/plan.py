"""The plan: from selectors to jobs, every input checked before the first job starts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from usd_bench.errors import SelectorError, did_you_mean
from usd_bench.problem import Problem
from usd_bench.registry import Registry
from usd_bench.reproducibility import code_identity, digest
from usd_bench.run.budget import Budget
from usd_bench.selectors import Selection, checked, parse
from usd_bench.solver import Solver


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
    max_time: float | None = None
    until: dict[str, float] | None = None
    eval_every: int | None = None


def plan(
    registry: Registry,
    problems: str,
    solvers: str,
    seeds: Sequence[int],
    limits: Limits,
    device: str = "cpu",
) -> list[Job]:
    """Every problem × solver × seed as a job. Raises ``SelectorError`` for anything unknown or out of range."""
    for name in limits.until or {}:
        registry.get("metrics", name)
    chosen_problems = [(s, build_problem(registry, s)) for s in _unique(parse(problems))]
    chosen_solvers = [(s, build_solver(registry, s)) for s in _unique(parse(solvers))]
    jobs = []
    for problem_selection, problem in chosen_problems:
        for solver_selection, solver in chosen_solvers:
            entries = registry.get("problems", problem_selection.name), registry.get("solvers", solver_selection.name)
            for seed in seeds:
                jobs.append(
                    Job(
                        problem=entries[0].name,
                        parameters=problem.parameters.model_dump(mode="json"),
                        solver=entries[1].name,
                        config=solver.config.model_dump(mode="json"),
                        seed=seed,
                        budget=_budget(problem, solver, limits),
                        device=device,
                        code=code_identity(entries[0].plugin, entries[1].plugin),
                        label=f"{_text(problem_selection)} · {_text(solver_selection)} · seed {seed}",
                    )
                )
    return jobs


def build_problem(registry: Registry, selection: Selection) -> Problem:
    """The selected problem with its checked parameters."""
    cls = registry.get("problems", selection.name).load()
    _must_be(cls, Problem, selection.name)
    parameters = checked(selection.name, cls.Parameters, selection.parameters)
    problem: Problem = cls(**parameters.model_dump())
    return problem


def build_solver(registry: Registry, selection: Selection) -> Solver:
    """The selected solver with its checked config."""
    cls = registry.get("solvers", selection.name).load()
    _must_be(cls, Solver, selection.name)
    solver: Solver = cls(checked(selection.name, cls.Config, selection.parameters))
    return solver


def _budget(problem: Problem, solver: Solver, limits: Limits) -> Budget:
    recommended = problem.recommended
    return Budget(
        max_iter=limits.max_iter,
        max_time=recommended.max_time if limits.max_time is None else limits.max_time,
        until=dict(recommended.until if limits.until is None else limits.until),
        eval_every=limits.eval_every or solver.eval_every,
    )


def _unique(selections: Iterable[Selection]) -> list[Selection]:
    seen: dict[str, Selection] = {}
    for selection in selections:
        seen.setdefault(json.dumps([selection.name, selection.parameters], sort_keys=True), selection)
    return list(seen.values())


def _must_be(cls: Any, base: type, name: str) -> None:
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise SelectorError(f"{name!r} is registered as {cls!r}, which is not a {base.__name__}{did_you_mean('', ())}")


def _text(selection: Selection) -> str:
    shown = ",".join(f"{key}={value}" for key, value in selection.parameters.items())
    return f"{selection.name}[{shown}]" if shown else selection.name
