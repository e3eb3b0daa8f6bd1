"""Suites: files that say which problems meet which solvers, with which seeds and budgets.

    # configs/suite/smoke.yaml
    seeds: 2
    max_time: 20
    runs:
      - problem: burgers[order=[0,1]]
        solver: [gauss_newton, adam]
      - problem: toy_ipm
        solver: gauss_newton
        until: res_max=1e-3

What an item does not say, the head of the file says, and else the problem. With ``tuned: true`` solvers run with the
settings that ``usd-bench tune`` wrote to ``tuned/<solver>.yaml`` beside the suite's folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, field_validator

from usd_bench.errors import ConfigError, SelectorError
from usd_bench.registry import Registry
from usd_bench.run.budgeted import Budgeted, no_bool
from usd_bench.run.plan import Job, plan
from usd_bench.run.yamlfile import line_of, load, said
from usd_bench.selectors import Selection, parse


def _joined(value: Any) -> Any:
    """Several selectors as one."""
    return ",".join(map(str, value)) if isinstance(value, list) else value


Selectors = Annotated[str, BeforeValidator(_joined)]


class Budgets(Budgeted):
    """What the head of a suite and each of its items may say; None: not said."""

    seeds: int | None = Field(None, ge=1, le=100_000)

    _whole = field_validator("seeds", mode="before")(no_bool)

    def beneath(self, above: Budgets) -> Budgets:
        """These, where ``above`` says nothing."""
        return Budgets(**{n: b if (b := getattr(above, n)) is not None else getattr(self, n) for n in BUDGETS})


BUDGETS = tuple(Budgets.model_fields)


class Item(Budgets):
    """Problems and solvers that meet, every one of the former with every one of the latter."""

    problem: Selectors
    solver: Selectors
    tuned: bool = False


class _File(Budgets):
    runs: list[Item] = Field(min_length=1)


@dataclass(frozen=True)
class Suite:
    """A suite with the place of each item, for errors."""

    path: Path
    head: Budgets
    items: tuple[Item, ...]
    lines: tuple[int, ...]

    def jobs(self, registry: Registry, above: Budgets, device: str) -> list[Job]:
        """Every run of the suite, each once; ``above``: what the command line says. Raises ``ConfigError``."""
        found: dict[str, Job] = {}
        for item, line in zip(self.items, self.lines, strict=True):
            budgets = self.head.beneath(item).beneath(above)
            first, number = budgets.seed or 0, budgets.seeds or 1
            try:
                solvers = self._tuned(item.solver) if item.tuned else item.solver
                jobs = plan(registry, item.problem, solvers, range(first, first + number), budgets.limits, device)
            except SelectorError as error:
                raise ConfigError(f"{self.path}:{line}: {error}") from None
            found.update((job.run_id, job) for job in jobs)
        return list(found.values())

    def _tuned(self, solvers: str) -> str:
        return ",".join(tuned(self.path.parent.parent / "tuned", selection) for selection in parse(solvers))


def tuned(folder: Path, solver: Selection) -> str:
    """The selector of a solver with its tuned settings, those it was given first. Raises ``SelectorError``."""
    path = folder / f"{solver.name}.yaml"
    if not path.is_file():
        raise SelectorError(f"no tuned settings of {solver.name!r}: there is no {path} (usd-bench tune makes it)")
    settings = load(path, "settings: {}")[0].get("settings")
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: expected 'settings:' with a mapping")
    shown = ",".join(f"{key}={value}" for key, value in (settings | solver.parameters).items())
    return f"{solver.name}[{shown}]"


def read_suite(path: Path) -> Suite:
    """The suite in a file. Raises ``ConfigError`` with the line of what is wrong."""
    data, node = load(path, "seeds: 2")
    try:
        file = _File(**data)
    except ValidationError as error:
        raise ConfigError(said(path, node, error, Item)) from None
    lines = tuple(line_of(node, ("runs", i)) for i in range(len(file.runs)))
    return Suite(path, file, tuple(file.runs), lines)
