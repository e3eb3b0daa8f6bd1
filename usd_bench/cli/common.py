"""What the commands share: options, the registry with its warnings, and tables."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from usd_bench.registry import Registry

type_of_folder = click.Path(file_okay=False, path_type=Path)

out_option = click.option(
    "--out", type=type_of_folder, default=Path("results"), show_default=True, help="The results store."
)
plugins_option = click.option(
    "--plugins-dir", "plugin_dirs", type=type_of_folder, multiple=True, help="Folder of one-file plugins (*.py)."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def load_registry(plugin_dirs: Sequence[Path]) -> Registry:
    """All plugins; warnings go to standard error, a name conflict or a broken ``--plugins-dir`` is an error."""
    registry = Registry.load(plugin_dirs)
    warn(registry.check())
    return registry


def warn(messages: Iterable[str]) -> None:
    """One line each on standard error."""
    for message in messages:
        click.echo(f"Warning: {message}", err=True)


def print_rows(rows: Sequence[dict[str, Any]], columns: dict[str, Callable[[dict[str, Any]], str]]) -> None:
    """A table on standard output: a title and a formatter per column."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in columns:
        table.add_column(title, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(show(row) for show in columns.values()))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:  # a pipe or a file has no width; cut nothing
        console.width = 240
    console.print(table)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row with NaN as null, ready for JSON."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}


def number(value: Any, form: str) -> str:
    """A number in that format, or a dash for one that is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return format(value, form)


def problem_text(row: dict[str, Any]) -> str:
    """``burgers[order=1]``; parameters only where there are any."""
    parameters = json.loads(row["parameters"])
    shown = ",".join(f"{key}={value}" for key, value in parameters.items())
    return f"{row['problem']}[{shown}]" if shown else str(row["problem"])


def solver_text(row: dict[str, Any]) -> str:
    return str(row["solver"])


RUN_COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "run": lambda r: r["run_id"][:8],
    "problem": problem_text,
    "solver": solver_text,
    "seed": lambda r: str(r["seed"]),
    "status": lambda r: r["status"],
    "λ": lambda r: number(r["lam"], ".10f"),
    "digits": lambda r: number(r["lam_digits"], ".1f"),
    "res_max": lambda r: number(r["res_max"], ".1e"),
    "err_max": lambda r: number(r["err_max"], ".1e"),
    "iter": lambda r: number(r["iterations"], "d"),
    "solve s": lambda r: number(r["time_solve_s"], ".1f"),
}
