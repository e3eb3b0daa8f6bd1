"""What the commands share: options, the registry with its warnings, and tables."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def bars(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """``show(what, done, total)``: live bars on a terminal, nothing elsewhere."""
    console = Console(stderr=True, highlight=False, markup=False)
    if quiet or not console.is_terminal:
        yield lambda what, done, total: None
        return

    from rich.progress import Progress, TaskID

    with Progress(console=console, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        yield show


def print_rows(
    rows: Sequence[dict[str, Any]],
    columns: dict[str, Callable[[dict[str, Any]], str]],
    spare: Sequence[str] = (),
    wrapped: str | None = None,
) -> None:
    """A table on standard output: a title and a formatter per column.

    On a terminal that is too narrow, columns are left out in the order of ``spare``, and the one that is ``wrapped``
    goes on in further lines; a pipe gets all columns, and one line for each row.
    """
    cells = {title: [show(row) for row in rows] for title, show in columns.items()}
    console = Console(highlight=False, markup=False)
    if console.is_terminal:
        for title in spare:
            if sum(max(map(len, [t, *column])) + 2 for t, column in cells.items()) - 2 > console.width:
                del cells[title]
    else:
        console.width = 10_000
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in cells:
        wraps = title == wrapped
        table.add_column(title, no_wrap=not wraps, overflow="fold" if wraps else "ellipsis")
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def print_json(value: Any) -> None:
    """JSON on standard output; null for what is not a finite number, for JSON knows no other."""
    click.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False, default=str, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: Any, form: str) -> str:
    """A number in that format, or a dash for one that is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return format(value, form)


def print_runs(rows: Sequence[dict[str, Any]]) -> None:
    """Runs as people compare them. Of a solver's settings, those that differ between these rows are shown."""
    configs: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        configs.setdefault(row["solver"], []).append(json.loads(row["config"]))

    def solver(row: dict[str, Any]) -> str:
        config = json.loads(row["config"])
        return selector(
            row["solver"],
            {k: v for k, v in config.items() if any(other.get(k) != v for other in configs[row["solver"]])},
        )

    print_rows(
        rows,
        {
            "run": lambda r: r["run_id"][:8],
            "problem": lambda r: selector(r["problem"], json.loads(r["parameters"])),
            "solver": solver,
            "seed": lambda r: str(r["seed"]),
            "status": lambda r: r["status"],
            "λ": lambda r: number(r["lam"], ".10f"),
            "digits": lambda r: number(r["lam_digits"], ".1f"),
            "res_max": lambda r: number(r["res_max"], ".1e"),
            "err_max": lambda r: number(r["err_max"], ".1e"),
            "iter": lambda r: number(r["iterations"], "d"),
            "solve s": lambda r: number(r["time_solve_s"], ".1f") + "*" * bool(r["contended"]),
        },
        spare=("err_max", "iter", "run", "digits", "solve s"),
    )
    if any(row["contended"] for row in rows):
        click.echo("* on cores that it shared with other runs")


def selector(name: str, values: dict[str, Any]) -> str:
    shown = ",".join(f"{key}={value}" for key, value in values.items())
    return f"{name}[{shown}]" if shown else name
