"""``usd-bench show RUN``: one run, in numbers and as a picture."""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path
from typing import Any

import click

from usd_bench.cli.common import (
    json_option,
    load_registry,
    number,
    out_option,
    plugins_option,
    print_json,
    print_rows,
    selector,
    warn,
)
from usd_bench.errors import UsdBenchError


@click.command("show")
@click.argument("run")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Picture.  [default: among the artifacts]")
@json_option
@out_option
@plugins_option
def command(run: str, png: Path | None, as_json: bool, out: Path, plugin_dirs: tuple[Path, ...]) -> None:
    """Show RUN, given by the first letters of its id: every column, and a picture of fields and convergence.

    \b
    usd-bench show 3c359384
    usd-bench show 3c35 --png profile.png
    """
    from usd_bench.store.reader import find_run

    row = find_run(out, run)
    if as_json:
        print_json(row)
        return
    rows = [{"column": key, "value": _text(value)} for key, value in row.items()]
    print_rows(rows, {"column": itemgetter("column"), "value": itemgetter("value")}, wrapped="value")
    try:
        path = _picture(row, out, png, plugin_dirs)
    except UsdBenchError as error:
        warn([f"no picture: {error}"])
    else:
        click.echo(f"\npicture  {path}")


def _text(value: Any) -> str:
    return number(value, ".12g") if value is None or isinstance(value, float) else str(value)


def _picture(row: dict[str, Any], out: Path, png: Path | None, plugin_dirs: tuple[Path, ...]) -> Path:
    registry = load_registry(plugin_dirs)

    from usd_bench.profile import on_grid
    from usd_bench.report.figures import run_figure
    from usd_bench.run.artifacts import load_profile
    from usd_bench.store.reader import read_trace

    folder = out / "artifacts" / row["run_id"]
    problem, profile = load_profile(registry, out, row)
    trace = read_trace(out, row["run_id"])
    axes = problem.grid(max(64, problem.recommended.grid))
    path = png or folder / "run.png"
    what = f"{selector(row['problem'], json.loads(row['parameters']))} · {row['solver']} · seed {row['seed']}"
    title = f"{what} · {row['status']} · λ = {number(row['lam'], '.10f')}"
    run_figure(path, title, trace, row["lam_ref"], problem.coords, axes, on_grid(profile, axes))
    return path
