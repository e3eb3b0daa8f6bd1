"""Whether a store keeps its own rules: what rows say of themselves, of each other, and of their files.

Faults are what no run can have written: a row that was changed, a file that is gone, a number that cannot be. Notes are
what a reader should know before comparing.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from usd_bench.reproducibility import digest
from usd_bench.store.reader import Row, read

STATUSES = ("converged", "budget", "diverged", "timeout", "killed", "error", "unsupported")

NEVER_NEGATIVE = (
    *("res_max", "res_l2", "res_mean", "raw_max", "raw_l2", "raw_mean", "cond_max", "err_l2_rel", "err_max"),
    *("iterations", "iteration", "n_residual", "n_jacobian", "n_jvp", "n_vjp", "n_linear_solve"),
    *("time_solve_s", "time_eval_s", "time_setup_s", "peak_rss_mib", "peak_gpu_mib"),
)

GROWING = ("iteration", "n_residual", "n_jacobian", "n_jvp", "n_vjp", "n_linear_solve", "time_solve_s", "time_eval_s")
"""Columns of a trace that never fall."""

ROUNDING = 1 + 1e-12
"""By how much a mean may exceed a maximum."""


@dataclass
class Report:
    """What was found in one store."""

    path: Path
    runs: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def stores_in(path: Path) -> list[Path]:
    """The stores at or below a folder: folders that hold ``runs/``."""
    if (path / "runs").is_dir():
        return [path]
    return sorted(found.parent for found in path.rglob("runs") if found.is_dir())


def validated(out: Path) -> Report:
    """Read all of a store and hold it to the rules."""
    report = Report(out)
    runs, skipped = read(out, "runs")
    trace, more = read(out, "trace")
    env, yet_more = read(out, "env")
    report.faults += [*skipped, *more, *yet_more]
    report.runs = len(runs)
    by_run: dict[str, list[Row]] = defaultdict(list)
    for row in trace:
        by_run[row["run_id"]].append(row)
    environments = {row["env_id"] for row in env if digest(json.loads(row["record"])) == row["env_id"]}
    for row in env:
        if row["env_id"] not in environments:
            report.faults.append(f"env {row['env_id'][:8]}: the record is not the one that its id was made from")
    for row in runs:
        report.statuses[row["status"]] = report.statuses.get(row["status"], 0) + 1
        evaluations = sorted(by_run.get(row["run_id"], []), key=lambda t: t["iteration"])
        found = [*_identity(row), *_values(row), *_trace(row, evaluations)]
        if row["env_id"] not in environments:
            found.append("its environment is not in env/")
        report.faults += [f"run {row['run_id'][:8]}: {fault}" for fault in found]
    known = {row["run_id"] for row in runs}
    loose = sorted(run_id[:8] for run_id in by_run if run_id not in known)
    if loose:
        report.notes.append(f"traces without a run: {', '.join(loose)}")
    report.notes += _notes(out, runs)
    return report


def _identity(row: Row) -> Iterator[str]:
    """A run_id is made from what determines the run, so a row whose settings were changed does not have it."""
    try:
        job = {
            "problem": row["problem"],
            "parameters": json.loads(row["parameters"]),
            "solver": row["solver"],
            "config": json.loads(row["config"]),
            "seed": row["seed"],
            "budget": json.loads(row["budget"]),
            "code": json.loads(row["code"]),
            "resume": row["resume"],
        }
    except (TypeError, ValueError):
        yield "a column that holds JSON does not"
        return
    devices = ("cpu",) if row["device"] == "cpu" else ("cuda", *(f"cuda:{i}" for i in range(16)))
    if all(digest(job | {"device": device}) != row["run_id"] for device in devices):
        yield "its run_id is not that of its problem, solver, settings, seed, budget and code: the row was changed"


def _values(row: Row) -> Iterator[str]:
    if row["status"] not in STATUSES:
        yield f"status {row['status']!r} is none of {', '.join(STATUSES)}"
    if not row["reason"] and row["status"] != "converged":
        yield f"status {row['status']} without a reason"
    for name in NEVER_NEGATIVE:
        if _number(row.get(name)) and row[name] < 0:
            yield f"{name} = {row[name]}"
    for kind in ("res", "raw"):
        mean, rms, most = (row[f"{kind}_{part}"] for part in ("mean", "l2", "max"))
        if all(map(_number, (mean, rms, most))) and not mean <= ROUNDING * rms <= ROUNDING**2 * most:
            yield f"{kind}_mean ≤ {kind}_l2 ≤ {kind}_max does not hold: {mean:g}, {rms:g}, {most:g}"
    if row["iteration_best"] is not None and row["iteration_best"] > row["iterations"]:
        yield f"iteration_best = {row['iteration_best']} of {row['iterations']} iterations"
    if row["status"] == "converged":
        yield from _targets(row)


def _targets(row: Row) -> Iterator[str]:
    """What a converged run must have reached, as far as columns say: a residual target binds side conditions too."""
    until = dict(json.loads(row["budget"])["until"])
    if not until:
        yield "converged without a target"
    if "res_max" in until:
        until.setdefault("cond_max", until["res_max"])
    for name, target in until.items():
        value = row.get(name)
        if name in row and (not _number(value) or (value < target if name == "lam_digits" else value > target)):
            yield f"converged at {name} = {value}, but the target is {target:g}"


def _trace(row: Row, evaluations: list[Row]) -> Iterator[str]:
    if not evaluations:
        if row["lam"] is not None:
            yield "λ is known, but there is no trace"
        return
    for name in GROWING:
        values = [t[name] for t in evaluations]
        if any(b < a for a, b in pairwise(values)):
            yield f"{name} falls along the trace"
    best = next((t for t in evaluations if t["iteration"] == row["iteration_best"]), None)
    if best is None:
        if row["iteration_best"] is not None:
            yield f"iteration_best = {row['iteration_best']} is not in its trace"
        return
    for name in ("lam", "res_max", "res_l2", "cond_max", "err_max", "lam_digits"):
        if best[name] != row[name]:
            yield f"{name} = {row[name]}, but its trace says {best[name]} at iteration {row['iteration_best']}"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not math.isnan(value)


def _notes(out: Path, runs: list[Row]) -> Iterator[str]:
    """What comparing needs: the same seeds, one machine, one commit, profiles to look at."""
    seeds: dict[tuple[str, str], dict[tuple[str, str], set[int]]] = defaultdict(lambda: defaultdict(set))
    for row in runs:
        seeds[row["problem"], row["parameters"]][row["solver"], row["config"]].add(row["seed"])
    for (problem, parameters), by_solver in sorted(seeds.items()):
        every = set.union(*by_solver.values())
        short = sorted({solver for (solver, _), own in by_solver.items() if own != every})
        if short:
            name = f"{problem}{''.join(f'[{k}={v}]' for k, v in json.loads(parameters).items())}"
            yield f"{name}: seeds differ between solvers; not all of {_shown(every)}: {', '.join(short)}"
    for column, word in (("env_id", "environments"), ("commit", "commits"), ("threads", "thread counts")):
        values = sorted({str(row[column]) for row in runs})
        if len(values) > 1:
            yield f"{len(values)} {word}: {', '.join(value[:12] for value in values)}"
    changed = sum(str(row["commit"]).endswith("+") for row in runs)
    if changed:
        yield f"{changed} runs of a changed tree, which nobody can check out"
    if runs:
        bare = sum(not (out / "artifacts" / row["run_id"] / "profile.safetensors").is_file() for row in runs)
        if bare:
            yield f"{bare} of {len(runs)} runs without a stored profile"


def _shown(seeds: set[int]) -> str:
    low, high = min(seeds), max(seeds)
    return f"{low}–{high}" if len(seeds) == high - low + 1 > 1 else ", ".join(map(str, sorted(seeds)))
