"""``usd-bench compare A B``: what changed between two stores, commits or methods."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from usd_bench.cli.common import json_option, number, out_option, print_json, print_rows, warn
from usd_bench.errors import StoreError, UsdBenchError

if TYPE_CHECKING:
    from usd_bench.analysis.statistics import Estimate


@click.command("compare")
@click.argument("a")
@click.argument("b")
@click.option("--fail-on", type=click.Choice(["regression"]), help="Exit with 1 where something is shown to be worse.")
@json_option
@out_option
def command(a: str, b: str, fail_on: str | None, as_json: bool, out: Path) -> int:
    """Compare A and B, pairing by pairing: ratios B / A of time and residual, with 95 % intervals.

    A and B are stores (folders), or within the store of --out: commits, or solvers with the settings that tell them
    apart. Runs are paired by problem and seed, and but for solvers by method. A word such as 'slower' stands only where
    the interval supports it; times are those of pairs that both converged.

    \b
    usd-bench compare old/results results
    usd-bench compare 9b6cbb8 6aa4502 --fail-on regression
    usd-bench compare 'adam[learning_rate=0.001]' 'adam[learning_rate=0.01]' --out results/published/standard

    Exit codes: 0 compared; 1 a regression, if asked to fail on it; 2 not comparable.
    """
    from usd_bench.analysis.compare import NotComparable, compare

    first, kind_a = _side(a, out)
    second, kind_b = _side(b, out)
    if (kind_a == "solver") != (kind_b == "solver"):
        raise UsdBenchError(f"{a!r} is a {kind_a} and {b!r} a {kind_b}; give two of a kind")
    try:
        found = compare(first, second, across_methods=kind_a == "solver")
    except NotComparable as error:
        raise UsdBenchError(f"{a} and {b} cannot be compared: {error}") from None
    regressed = any(c.regressed for c in found)
    for column in ("device", "threads", "env_id"):
        values = [sorted({str(row[column]) for row in side}) for side in (first, second)]
        if values[0] != values[1]:
            shown = "; ".join(", ".join(side)[:40] for side in values)
            warn([f"{column} differs ({shown}): times tell of machines too"])
    if as_json:
        print_json([asdict(c) | {"regressed": c.regressed} for c in found])
    else:
        print_rows(
            [asdict(c) for c in found],
            {
                "problem": lambda r: r["instance"],
                "method": lambda r: r["method"],
                "pairs": lambda r: str(r["pairs"]),
                "solved": lambda r: f"{r['solved'][0]} → {r['solved'][1]}",
                "time": lambda r: _ratio(r["time"]),
                "residual": lambda r: _ratio(r["residual"]),
                "Δ digits": lambda r: number(r["digits"], "+.1f"),
                "": lambda r: ", ".join(r["verdict"]),
            },
            spare=("pairs", "Δ digits", "solved"),
        )
    return int(fail_on == "regression" and regressed)


def _ratio(estimate: Estimate | dict[str, float]) -> str:
    value = estimate if isinstance(estimate, dict) else asdict(estimate)
    if value["value"] != value["value"]:
        return "-"
    return f"{value['value']:.3g} [{value['low']:.3g}, {value['high']:.3g}]"


def _side(word: str, out: Path) -> tuple[list[dict[str, Any]], str]:
    """The rows that a word names, and what it is."""
    from usd_bench.selectors import parse
    from usd_bench.store.reader import read

    folder = Path(word)
    if folder.is_dir():
        if not (folder / "runs").is_dir():
            raise StoreError(f"{folder} is no store: it has no runs/")
        rows, warnings = read(folder, "runs")
        warn(warnings)
        return rows, "store"
    rows, warnings = read(out, "runs")
    warn(warnings)
    by_commit = [row for row in rows if len(word) >= 4 and str(row["commit"]).startswith(word)]
    if by_commit:
        return by_commit, "commit"
    (selection,) = parse(word) if len(parse(word)) == 1 else (None,)
    by_solver = [
        row
        for row in rows
        if selection is not None
        and row["solver"] == selection.name
        and all(_means(json.loads(row["config"]).get(key), value) for key, value in selection.parameters.items())
    ]
    if not by_solver:
        raise StoreError(f"{word!r} is no store, and no commit or solver of a run in {out}")
    return by_solver, "solver"


def _means(stored: Any, text: str) -> bool:
    """Whether a stored setting is what the user wrote: 0.01 is 1e-2."""
    try:
        return float(stored) == float(text)
    except (TypeError, ValueError):
        return str(stored).lower() == text.lower()
