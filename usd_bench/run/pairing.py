"""Files for one run: one problem, one solver, one seed.

    # configs/base.yaml
    problem: toy_ipm
    solver: gauss_newton
    settings:
      damping: 0.01
    max_time: 60
    until: res_max=1e-5
    track: [tensorboard]

Every run leaves such a file, with all that holds for it, as ``config.yaml`` among its artifacts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator

from usd_bench.errors import ConfigError, SelectorError
from usd_bench.registry import Registry
from usd_bench.run.budgeted import Budgeted, no_bool
from usd_bench.run.checkpoint import Every
from usd_bench.run.plan import Job, build_problem, build_solver, plan
from usd_bench.run.yamlfile import line_of, load, said
from usd_bench.selectors import Selection, parse


def _names(value: Any) -> Any:
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _every(value: Any) -> Any:
    if value is not None:
        try:
            Every.parse(str(value))
        except SelectorError as error:
            raise ValueError(str(error).replace("--checkpoint-every ", "")) from None
        return str(value)
    return value


class Pairing(Budgeted):
    """What a file, or the command line, says of a run; None and empty: not said."""

    problem: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    solver: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    device: str | None = None
    threads: int | None = Field(None, ge=1, le=4096)
    out: Path | None = None
    track: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    checkpoint_every: Annotated[str | None, BeforeValidator(_every)] = None

    _whole = field_validator("threads", mode="before")(no_bool)

    def beneath(self, above: Pairing) -> Pairing:
        """These, where ``above`` says nothing. Of the same problem or solver, ``above`` may say some values only."""
        merged = dict(self) | {name: value for name, value in above if value not in (None, (), {})}
        for what, values in (("problem", "parameters"), ("solver", "settings")):
            low, high = (_split(getattr(said, what), getattr(said, values)) for said in (self, above))
            kept = low[1] if high[0] in (None, low[0]) else {}
            merged[what], merged[values] = high[0] or low[0], kept | high[1]
        return Pairing.model_validate(merged)

    def job(self, registry: Registry) -> Job:
        """The run. Raises ``SelectorError`` for what is unknown or out of range."""
        if self.problem is None or self.solver is None:
            missing = "problem" if self.problem is None else "solver"
            raise SelectorError(f"no {missing} is given, neither in a file nor with --{missing}")
        problem, solver = _one(self.problem, self.parameters), _one(self.solver, self.settings)
        (job,) = plan(registry, [problem], [solver], [self.seed or 0], self.limits, self.device or "cpu")
        return job


def _split(text: str | None, values: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """A name, and the values in its brackets over those beside it."""
    if text is None:
        return None, dict(values)
    selection = _one(text, values)
    return selection.name, selection.parameters


def _one(text: str, values: Mapping[str, Any]) -> Selection:
    selections = parse(text)
    if len(selections) != 1:
        raise SelectorError(f"{text!r} selects {len(selections)}; expected one, for one run")
    given = {name: value for name, value in values.items() if value is not None}
    return Selection(selections[0].name, {**given, **selections[0].parameters})


def read_pairing(path: Path, registry: Registry) -> Pairing:
    """The pairing in a file. Raises ``ConfigError`` with the line of what is wrong."""
    data, node = load(path, "problem: burgers")
    try:
        pairing = Pairing(**data)
    except ValidationError as error:
        raise ConfigError(said(path, node, error, Pairing)) from None
    for what, values, build in (("problem", "parameters", build_problem), ("solver", "settings", build_solver)):
        name, given = getattr(pairing, what), getattr(pairing, values)
        if name is not None:
            try:
                build(registry, _one(name, given))
            except SelectorError as error:
                wrong = next((key for key in given if str(key) in str(error)), None)
                line = line_of(node, (what,) if wrong is None else (values, wrong))
                raise ConfigError(f"{path}:{line}: {error}") from None
    return pairing


def effective(job: Job, threads: int) -> str:
    """The file that makes this run again, with every value that holds for it."""
    budget = {name: value for name, value in job.budget.to_json().items() if value is not None}
    return yaml.safe_dump(
        {
            "problem": job.problem,
            "parameters": job.parameters,
            "solver": job.solver,
            "settings": job.config,
            "seed": job.seed,
            **budget,
            "device": job.device,
            "threads": threads,
        },
        sort_keys=False,
        allow_unicode=True,
    )
