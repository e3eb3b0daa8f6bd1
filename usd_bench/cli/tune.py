"""``usd-bench tune``: settings of a solver by search on a proxy problem."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from usd_bench.cli.common import (
    json_option,
    load_registry,
    number,
    plugins_option,
    print_json,
    print_rows,
    type_of_folder,
)
from usd_bench.cli.execution import Machines, carry_out, check_device, machine_options

if TYPE_CHECKING:
    from usd_bench.analysis.tuning import Trial

SEEDS_FROM = 1_000_000
"""The first seed of a search: evaluations begin at 0, and never get so far."""


@click.command("tune")
@click.option("-p", "--problem", required=True, help="The proxy problem, with its parameters.")
@click.option("-s", "--solver", required=True, help="The solver with lists of settings: a grid.")
@click.option("--random", "sample", type=click.IntRange(min=1), help="Try so many points of the grid, drawn at random.")
@click.option("--seeds", type=click.IntRange(min=1, max=1000), default=2, show_default=True, help="Seeds per trial.")
@click.option("--max-iter", type=click.IntRange(min=0), help="Iterations of a run.  [default: no limit]")
@click.option("--max-work", type=click.IntRange(min=0), help="Evaluations of a run.  [default: no limit]")
@click.option(
    "--max-time", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True, help="Seconds of a run."
)
@click.option(
    "--to", "folder", type=type_of_folder, default=Path("configs/tuned"), show_default=True, help="For <solver>.yaml."
)
@click.option(
    "--out", type=type_of_folder, default=Path("results/tuning"), show_default=True, help="The store of the trials."
)
@click.option("-q", "--quiet", is_flag=True, help="No progress, no table.")
@machine_options
@json_option
@plugins_option
def command(
    problem: str,
    solver: str,
    sample: int | None,
    seeds: int,
    max_iter: int | None,
    max_work: int | None,
    max_time: float,
    folder: Path,
    out: Path,
    quiet: bool,
    machines: Machines,
    device: str,
    as_json: bool,
    plugin_dirs: tuple[Path, ...],
) -> int:
    """Search a solver's settings on a proxy problem, and write the best with all that was tried to <solver>.yaml.

    Every trial runs its whole budget with the same seeds, which begin at 1000000 so that no evaluation has seen
    them. Its score is the geometric mean of the smallest residuals. Suites use the settings with 'tuned: true'.

    \b
    usd-bench tune -p burgers -s 'adam[learning_rate=[1e-4,3e-4,1e-3,3e-3,1e-2]]'
    usd-bench tune -p ccf -s 'soap[learning_rate=[1e-3,3e-3,1e-2],frequency=[1,5,10]]' --random 5 --jobs 2 --threads 1

    Exit codes: 0 settings written; 1 every trial failed; 2 bad input; 130 interrupted.
    """
    registry = load_registry(plugin_dirs)

    from usd_bench.analysis.tuning import best_of
    from usd_bench.errors import SelectorError
    from usd_bench.run.plan import Limits, plan
    from usd_bench.selectors import parse

    check_device(device, machines.scheduler is None)
    selections = parse(solver)
    if len({selection.name for selection in selections}) > 1:
        raise SelectorError(f"{solver!r} names several solvers; tune one at a time")
    if len(parse(problem)) > 1:
        raise SelectorError(f"{problem!r} names several problems; a proxy is one")
    if sample is not None and sample < len(selections):
        selections = random.Random(0).sample(selections, sample)
    limits = Limits(max_iter, max_work, max_time, {})
    planned = {}
    for selection in selections:
        shown = ",".join(f"{key}={value}" for key, value in selection.parameters.items())
        text = f"{selection.name}[{shown}]" if shown else selection.name
        planned[text] = plan(registry, problem, text, range(SEEDS_FROM, SEEDS_FROM + seeds), limits, device)
    every = list({job.run_id: job for jobs_of in planned.values() for job in jobs_of}.values())
    done = carry_out(every, out, machines=machines, quiet=quiet, plugin_dirs=plugin_dirs)
    if done.interrupted:
        return 130
    by_id = {row["run_id"]: row for row in done.rows}
    trials = _trials(selections, [[by_id[job.run_id] for job in jobs_of] for jobs_of in planned.values()])
    best = best_of(trials)
    search = {
        "problem": problem,
        "solver": solver,
        "kind": "grid" if sample is None else f"{len(trials)} points of the grid at random",
        "seeds": [SEEDS_FROM + i for i in range(seeds)],
        "budget": {"max_iter": max_iter, "max_work": max_work, "max_time": max_time},
        "commit": done.rows[0]["commit"],
        "tried": [{"settings": t.settings, "residuals": [_json(r) for r in t.residuals]} for t in trials],
    }
    if as_json:
        print_json({"settings": best and best.settings, "search": search})
    elif not quiet:
        print_rows(
            [{"settings": t.settings, "score": t.score} for t in sorted(trials, key=lambda t: t.score)],
            {
                "settings": lambda r: ",".join(f"{k}={v}" for k, v in r["settings"].items()) or "(defaults)",
                "score": lambda r: number(r["score"], ".2e"),
            },
        )
    if best is None:
        click.echo(f"every trial failed; nothing written (usd-bench list runs --out {out})", err=True)
        return 1
    _write(folder / f"{selections[0].name}.yaml", selections[0].name, best, search)
    return 0


def _trials(selections: Any, rows: list[list[dict[str, Any]]]) -> list[Trial]:
    from usd_bench.analysis.tuning import Trial

    def residual(row: dict[str, Any]) -> float:
        value = row["res_max"]
        failed = value is None or math.isnan(value) or row["in_bracket"] is False
        failed |= row["status"] in ("error", "diverged", "unsupported")
        return math.inf if failed else float(value)

    return [Trial(s.parameters, tuple(map(residual, of))) for s, of in zip(selections, rows, strict=True)]


def _json(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _write(path: Path, name: str, best: Trial, search: dict[str, Any]) -> None:
    import yaml

    from usd_bench.files import write_atomically

    head = "# Written by usd-bench tune; suites use it where they say 'tuned: true'.\n"
    body = {"solver": name, "settings": best.settings, "score": best.score, "search": json.loads(json.dumps(search))}
    text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=120)
    write_atomically(path, (head + text).encode())
    click.echo(f"written  {path}", err=True)
