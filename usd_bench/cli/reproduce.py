"""``usd-bench reproduce RUN``: run a stored row again, and say what differs."""

from __future__ import annotations

import json
import math
import tempfile
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
from usd_bench.errors import StoreError

COMPARED = ("lam", "res_max", "res_l2", "cond_max", "err_max", "n_residual", "n_jacobian", "n_linear_solve")
"""Columns of the trace that do not depend on the clock."""


@click.command("reproduce")
@click.argument("run")
@click.option("--max-iter", type=click.IntRange(min=0), help="Stop earlier.  [default: as many iterations as stored]")
@click.option("--tolerance", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Relative difference.")
@json_option
@out_option
@plugins_option
def command(
    run: str, max_iter: int | None, tolerance: float, as_json: bool, out: Path, plugin_dirs: tuple[Path, ...]
) -> int:
    """Run RUN of a store again, with its problem, solver, settings, seed and threads, and compare the traces.

    On the machine and code that made it every number is the same to the last bit, times aside; elsewhere it says how
    far they are apart, and what else differs. The store is not changed.

    \b
    usd-bench reproduce 3c359384
    usd-bench reproduce 3c35 --max-iter 100 --out results/published/accuracy

    Exit codes: 0 within the tolerance; 1 a difference beyond it; 2 no such run.
    """
    from usd_bench.cli.execution import Machines, carry_out
    from usd_bench.reproducibility import environment
    from usd_bench.run.plan import Limits, plan
    from usd_bench.store.reader import find_run, read, read_trace

    row = find_run(out, run)
    if row["resume"] is not None:
        raise StoreError(f"run {row['run_id'][:8]} went on from a checkpoint, which a store does not keep")
    before = read_trace(out, row["run_id"])
    stop = int(row["iterations"]) if max_iter is None else min(max_iter, int(row["iterations"]))
    budget = json.loads(row["budget"])
    every = budget["eval_every"]
    # Where the clock ended the run, iterations do it now.
    limits = Limits(max_iter=stop, max_time=10 * budget["max_time"], until={}, eval_every=every)
    settings = {k: v for k, v in json.loads(row["config"]).items() if v is not None}
    parameters = json.loads(row["parameters"])
    registry = load_registry(plugin_dirs)
    (job,) = plan(
        registry, selector(row["problem"], parameters), selector(row["solver"], settings), [row["seed"]], limits
    )
    with tempfile.TemporaryDirectory() as scratch:
        done = carry_out(
            [job], Path(scratch), machines=Machines(threads=row["threads"]), quiet=as_json, plugin_dirs=plugin_dirs
        )
        if done.interrupted:
            return 130
        (again,) = done.rows
        after = read_trace(Path(scratch), again["run_id"])
    common = sorted(set(before["iteration"]) & set(after["iteration"]))
    old, new = (frame.set_index("iteration").loc[common] for frame in (before, after))
    differences = {name: _apart(old[name].tolist(), new[name].tolist()) for name in COMPARED}
    same = max(differences.values(), default=0.0) <= tolerance and bool(common)
    environments = {r["env_id"]: json.loads(r["record"]) for r in read(out, "env")[0]}
    there, here = environments.get(row["env_id"], {}), environment()
    other = sorted(key for key in there.keys() | here.keys() if there.get(key) != here.get(key))
    code = json.loads(row["code"]) != job.code
    result: dict[str, Any] = {
        "run_id": row["run_id"],
        "iterations": len(common) and common[-1],
        "evaluations": len(common),
        "same": same,
        "differences": differences,
        "environment": {key: [there.get(key), here.get(key)] for key in other},
        "code": {"stored": row["commit"], "changed": code},
    }
    if as_json:
        print_json(result)
        return int(not same)
    if code:
        warn([f"the code is not that of the run (commit {row['commit']}): differences may come from it"])
    print_rows(
        [{"column": name, "difference": value} for name, value in differences.items()],
        {"column": lambda r: r["column"], "largest relative difference": lambda r: number(r["difference"], ".1e")},
    )
    for key in other:
        click.echo(f"{key}: {there.get(key)} there, {here.get(key)} here")
    verdict = "every bit the same" if not any(differences.values()) else "within the tolerance" if same else "different"
    click.echo(f"\n{len(common)} evaluations over {result['iterations']} iterations: {verdict}")
    return int(not same)


def _apart(old: list[Any], new: list[Any]) -> float:
    """The largest relative difference; infinite where only one is known."""
    worst = 0.0
    for a, b in zip(old, new, strict=True):
        known = [value is not None and not math.isnan(value) for value in (a, b)]
        if all(known):
            worst = max(worst, abs(a - b) / max(abs(a), abs(b)) if a != b else 0.0)
        elif any(known):
            worst = math.inf
    return worst
