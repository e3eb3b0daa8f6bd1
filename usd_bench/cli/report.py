"""``usd-bench report``: a store as one HTML page, or its summary as a table."""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from usd_bench.analysis.measures import COSTS
from usd_bench.cli.common import load_registry, out_option, plugins_option, print_json, print_rows, warn
from usd_bench.errors import StoreError, UsdBenchError

if TYPE_CHECKING:
    import pandas as pd

PICTURES = (".svg", ".pdf", ".png")


class PicturePath(click.Path):
    """A file whose ending says what kind of picture it is."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(str(super().convert(value, param, ctx)))
        if path.suffix not in PICTURES:
            self.fail(f"{path} ends in none of {', '.join(PICTURES)}", param, ctx)
        return path


GRID = {1: 400, 2: 56}
"""Points per coordinate at which the page shows a profile, by dimension."""


@click.command("report")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="The page.  [default: OUT/report.html]")
@click.option("--title", help="Its title.  [default: the store's name]")
@click.option("--curves", type=PicturePath(), help="Draw work-precision curves instead: .svg, .pdf or .png.")
@click.option(
    "--ranks",
    type=PicturePath(),
    help="Draw average ranks with Nemenyi's critical difference instead. Needs the extra ranks.",
)
@click.option("--table", type=click.Choice(["markdown", "latex", "json"]), help="Print the summary instead.")
@click.option(
    "--target", type=click.FloatRange(min=0, min_open=True), default=1e-6, show_default=True, help="Its residual."
)
@click.option("--cost", type=click.Choice(list(COSTS)), default="time_solve_s", show_default=True, help="Its cost.")
@out_option
@plugins_option
def command(
    html: Path | None,
    title: str | None,
    curves: Path | None,
    ranks: Path | None,
    table: str | None,
    target: float,
    cost: str,
    out: Path,
    plugin_dirs: tuple[Path, ...],
) -> None:
    """Write a store as one HTML page that opens without a network: who is best at a residual and by how much,
    work-precision curves, profiles, exponents, fields and spectra of the best runs, failures with their reasons,
    machines; tables to filter and sort. The selection is in the address, so that a view can be linked to.

    \b
    usd-bench report                                        # results/report.html
    usd-bench report --out results/published/standard --html standard.html
    usd-bench report --table latex --target 1e-6 > table.tex
    usd-bench report --table json --target 1e-6 > metrics.json
    usd-bench report --curves curves.svg --ranks ranks.svg
    """
    from usd_bench.analysis.frames import OF_TRACE
    from usd_bench.store.reader import read, read_frame

    runs, messages = read(out, "runs")
    trace, more = read_frame(out, "trace", OF_TRACE)
    env, yet_more = read(out, "env")
    warn([*messages, *more, *yet_more])
    if not runs:
        raise StoreError(f"no runs in {out}: nothing to report")
    if table is not None:
        _print_table(table, runs, trace, target, cost)
    if curves is not None:
        _draw_curves(curves, runs, trace, cost, title or f"usd-bench: {out}")
    if ranks is not None:
        _draw_ranks(ranks, runs, title or f"usd-bench: {out}")
    if (table, curves, ranks) != (None, None, None):
        return

    from usd_bench.files import write_atomically
    from usd_bench.report.data import report_data
    from usd_bench.report.html import html_page

    data = report_data(runs, trace, env) | {"profiles": _profiles(runs, out, plugin_dirs)}
    path = html or out / "report.html"
    page = html_page(data, title or f"usd-bench: {out}").encode()
    write_atomically(path, page)
    click.echo(f"{len(runs)} runs  {path}  ({len(page) / 2**20:.1f} MiB)")


def _print_table(form: str, runs: list[dict[str, Any]], trace: pd.DataFrame, target: float, cost: str) -> None:
    from usd_bench.analysis.frames import runs_frame, trace_frame
    from usd_bench.analysis.summary import summary
    from usd_bench.report.table import latex, markdown

    frame = runs_frame(runs)
    found = summary(frame, trace_frame(frame, trace), target, cost)
    if form == "json":
        by_problem: dict[str, Any] = {}
        for row in found.to_dict("records"):
            by_problem.setdefault(row.pop("instance"), {})[row.pop("method")] = row
        print_json(by_problem)
        return
    caption = f"Residual at most {target:g}; expected {COSTS[cost]} to it, failures counted."
    click.echo(markdown(found, caption) if form == "markdown" else latex(found, caption))


def _draw_ranks(path: Path, runs: list[dict[str, Any]], title: str) -> None:
    from usd_bench.analysis.frames import runs_frame
    from usd_bench.analysis.ranks import ranks, scores
    from usd_bench.drawing import save
    from usd_bench.report.comparisons import ranks_figure

    frame = runs_frame(runs)
    table = scores(frame)
    left_out = sorted(set(frame["method"]) - set(table.columns)), sorted(set(frame["instance"]) - set(table.index))
    for what, names in zip(("methods", "problems"), left_out, strict=True):
        if names:
            warn([f"left out, for ranks need every method on every problem: {what} {', '.join(names)}"])
    try:
        found = ranks(table)
    except ValueError as error:
        raise UsdBenchError(str(error)) from None
    save(ranks_figure(f"{title}: average rank of the median residual on {found.problems} problems", found), path)
    rows = [{"solver": method, "rank": rank} for method, rank in found.average.items()]
    print_rows(rows, {"solver": itemgetter("solver"), "rank": lambda row: f"{row['rank']:.2f}"})
    click.echo(f"Friedman p = {found.p_value:.2g}; ranks differ from {found.critical:.2f} on  {path}")


def _draw_curves(path: Path, runs: list[dict[str, Any]], trace: pd.DataFrame, cost: str, title: str) -> None:
    from usd_bench.analysis.frames import runs_frame, trace_frame
    from usd_bench.drawing import save
    from usd_bench.report.comparisons import curves_figure

    evaluations = trace_frame(runs_frame(runs), trace)
    if evaluations.empty:
        raise UsdBenchError("no run has a trace: there are no curves to draw")
    save(curves_figure(title, evaluations, "residual", cost), path)
    click.echo(f"{evaluations['run_id'].nunique()} runs  {path}")


def _profiles(runs: list[dict[str, Any]], out: Path, plugin_dirs: tuple[Path, ...]) -> dict[str, Any]:
    """By run_id, the fields of the best stored profile of each problem, and its spectrum where there is one."""
    stored = [row for row in runs if (out / "artifacts" / row["run_id"] / "profile.safetensors").is_file()]
    best: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(stored, key=_badness):
        best.setdefault((row["problem"], row["parameters"]), []).append(row)
    if not best:
        return {}
    registry = load_registry(plugin_dirs)

    from usd_bench.profile import on_grid
    from usd_bench.report.data import shown_field
    from usd_bench.run.artifacts import load_profile

    found = {}
    for candidates in best.values():
        for row in candidates:
            try:
                problem, profile = load_profile(registry, out, row)
            except UsdBenchError as error:
                warn([f"no picture of run {row['run_id'][:8]}: {error}"])
                break
            if not problem.bracket.low <= profile.lam <= problem.bracket.high:
                continue  # another branch
            axes = problem.grid(GRID[len(problem.coords)])
            found[row["run_id"]] = {
                "coords": problem.coords,
                "axes": [shown_field(axis.tolist()) for axis in axes],
                "fields": {name: shown_field(values.tolist()) for name, values in on_grid(profile, axes).items()},
                "spectrum": _spectrum(out / "artifacts" / row["run_id"] / "spectrum.json"),
            }
            break
    return found


def _badness(row: dict[str, Any]) -> float:
    values = [row["res_max"], row["cond_max"]]
    return float("inf") if None in values else max(values)


def _spectrum(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    known = json.loads(path.read_text(encoding="utf-8"))
    return {name: known[name] for name in ("eigenvalues", "unstable", "symmetry_errors")}
