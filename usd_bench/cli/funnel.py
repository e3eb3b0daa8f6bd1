"""``usd-bench funnel``: the residual of runs that held λ, against λ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from usd_bench.cli.common import json_option, load_registry, number, out_option, plugins_option, print_json, print_rows
from usd_bench.errors import StoreError


@click.command("funnel")
@click.option("-p", "--problem", required=True, help="Problem with its parameters, as in 'ccf[order=1]'.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Picture.  [default: OUT/funnel.png]")
@json_option
@out_option
@plugins_option
def command(problem: str, png: Path | None, as_json: bool, out: Path, plugin_dirs: tuple[Path, ...]) -> None:
    """The funnel of stored runs whose solver held λ: residual against λ, and where it narrows.

    A smooth profile exists for single values of λ only; elsewhere a residual remains, about in proportion to the
    distance. Run the solver with λ held at several values first:

    \b
    usd-bench run -p ccf -s 'gauss_newton[lam=fixed,lam_start=[1.1,1.15,1.2,1.25]]' --max-iter 60
    usd-bench funnel -p ccf
    """
    registry = load_registry(plugin_dirs)

    from usd_bench.analysis.funnel import funnel
    from usd_bench.report.figures import funnel_figure
    from usd_bench.run.plan import build_problem
    from usd_bench.selectors import parse
    from usd_bench.store.reader import read

    selections = parse(problem)
    if len(selections) != 1:
        raise click.UsageError(f"{problem!r} names {len(selections)} problems; a funnel is of one")
    instance = build_problem(registry, selections[0])
    parameters = instance.parameters.model_dump(mode="json")
    rows, _ = read(out, "runs")
    held = [
        (row["lam"], row["res_l2"])
        for row in rows
        if row["problem"] == selections[0].name
        and json.loads(row["parameters"]) == parameters
        and json.loads(row["config"]).get("lam") == "fixed"
        and row["res_l2"] is not None
    ]
    if not held:
        raise StoreError(f"no run of {problem} with λ held in {out}; run a solver with lam=fixed, --help shows how")
    found = funnel(held)
    known = None if instance.target is None else instance.target.lam
    result: dict[str, Any] = {"problem": problem, "points": found.points, "tip": found.tip, "known": known}
    path = png or out / "funnel.png"
    funnel_figure(path, problem, found, known)
    if as_json:
        print_json(result)
        return
    print_rows(
        [{"lam": lam, "residual": residual} for lam, residual in found.points],
        {"λ": lambda r: number(r["lam"], ".10g"), "res_l2": lambda r: number(r["residual"], ".2e")},
    )
    narrow = "no tip: the lowest residual stands at an end" if found.tip is None else f"narrows at λ = {found.tip:.6g}"
    click.echo(f"\n{narrow}" + (f"; known: {known:.10g}" if known is not None else ""))
    click.echo(f"picture  {path}")
