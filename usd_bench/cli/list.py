"""``usd-bench list``: what can be run, what is measured, and what has been stored."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from usd_bench.cli.common import (
    json_option,
    load_registry,
    number,
    out_option,
    plugins_option,
    print_json,
    print_rows,
    print_runs,
    selector,
    warn,
)

if TYPE_CHECKING:
    from usd_bench.problem import Problem
    from usd_bench.registry import Kind, Registry


@click.group("list")
def command() -> None:
    """List problems, solvers, metrics, what is known of their answers, or the runs in a store.

    \b
    usd-bench list problems
    usd-bench list targets
    usd-bench list runs --out results --json
    """


def _entries(kind: Kind, plugin_dirs: tuple[Path, ...], as_json: bool) -> None:
    rows = [
        {"name": entry.name, "summary": entry.summary, "provider": str(entry.plugin)}
        for entry in load_registry(plugin_dirs).of(kind)
    ]
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, {key: itemgetter(key) for key in ("name", "summary", "provider")})


@command.command()
@json_option
@plugins_option
def problems(as_json: bool, plugin_dirs: tuple[Path, ...]) -> None:
    """Problems, with who provides them."""
    _entries("problems", plugin_dirs, as_json)


@command.command()
@json_option
@plugins_option
def solvers(as_json: bool, plugin_dirs: tuple[Path, ...]) -> None:
    """Solvers, with who provides them."""
    _entries("solvers", plugin_dirs, as_json)


@command.command()
@json_option
@plugins_option
def metrics(as_json: bool, plugin_dirs: tuple[Path, ...]) -> None:
    """Metrics that the harness computes, and that --until accepts."""
    _entries("metrics", plugin_dirs, as_json)


@command.command()
@click.option("-p", "--problem", "problems", multiple=True, help="Problems.  [default: all]")
@json_option
@plugins_option
def targets(problems: tuple[str, ...], as_json: bool, plugin_dirs: tuple[Path, ...]) -> None:
    """Published λ beside our own, with source, error estimate, residual and unstable modes.

    \b
    usd-bench list targets
    usd-bench list targets -p 'ipm[order=[0,1,2,3]]' --json
    """
    registry = load_registry(plugin_dirs)

    from usd_bench.analysis.truth import modes, shown, truth_rows

    rows = truth_rows(known_problems(registry, problems))
    if as_json:
        print_json(rows)
        return
    print_rows(
        rows,
        {
            "problem": lambda r: selector(
                r["problem"], {k: v for k, v in r["parameters"].items() if (k, v) != ("order", 0)}
            ),
            "published": lambda r: shown(r["published"]),
            "ours": lambda r: shown(r["ours"], r["error_estimate"]),
            "difference": lambda r: number(r["difference"], ".1e"),
            "estimate": lambda r: number(r["error_estimate"], ".1e"),
            "residual": lambda r: number(r["res_max"], ".1e"),
            "modes": modes,
            "source": lambda r: r["source"] or "new",
        },
        spare=("source", "modes", "estimate", "residual", "difference"),
    )


def known_problems(registry: Registry, selectors: tuple[str, ...] = ()) -> list[tuple[str, Problem]]:
    """The selected problems, or all of them at every order and at every parameter with a target or stored profile.

    Two names for one stored profile, as those of the toy sizes, are listed once.
    """
    from usd_bench.run.plan import build_problem
    from usd_bench.selectors import Selection, parse

    if selectors:
        return [(s.name, build_problem(registry, s)) for s in parse(",".join(selectors))]
    found: dict[Path, tuple[str, Problem]] = {}
    for entry in registry.of("problems"):
        for parameters in build_problem(registry, Selection(entry.name, {})).known():
            problem = build_problem(registry, Selection(entry.name, parameters))
            found.setdefault(problem.reference_path, (entry.name, problem))
    return list(found.values())


@command.command()
@json_option
@out_option
def runs(as_json: bool, out: Path) -> None:
    """Runs in a store, oldest first."""
    from usd_bench.store.reader import read

    rows, warnings = read(out, "runs")
    warn(warnings)
    rows.sort(key=lambda row: (row["started_at"] is not None, row["started_at"]))
    if as_json:
        print_json(rows)
    elif rows:
        print_runs(rows)
    else:
        click.echo(f"no runs in {out}")
