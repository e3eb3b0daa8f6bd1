"""``usd-bench list``: what can be run, what is measured, and what has been stored."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from usd_bench.cli.common import (
    json_option,
    load_registry,
    out_option,
    plugins_option,
    print_json,
    print_rows,
    print_runs,
    warn,
)

if TYPE_CHECKING:
    from usd_bench.registry import Kind


@click.group("list")
def command() -> None:
    """List problems, solvers, metrics, or the runs in a store.

    \b
    usd-bench list problems
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
