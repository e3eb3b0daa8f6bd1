"""``usd-bench references``: compute the stored profiles anew, or check that they are what they say."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from usd_bench.cli.common import json_option, load_registry, number, plugins_option, print_json, print_rows, selector
from usd_bench.errors import UsdBenchError

if TYPE_CHECKING:
    from usd_bench.collocation.piecewise import PiecewiseProfile
    from usd_bench.problem import Problem
    from usd_bench.registry import Registry


@click.group("references")
def command() -> None:
    """Build or verify the reference profiles, from which err_max and err_l2_rel of every run are taken.

    \b
    usd-bench references build -p 'ipm[order=[0,1]]'
    usd-bench references verify
    """


@command.command()
@click.option("-p", "--problem", "problems", required=True, multiple=True, help="Problems: name[param=value].")
@click.option("-s", "--solver", default="continuation", show_default=True, help="The solver that finds the profile.")
@click.option("--max-time", type=click.FloatRange(min=0, min_open=True), default=3600.0, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="Threads.  [default: all cores]")
@plugins_option
def build(
    problems: tuple[str, ...], solver: str, max_time: float, threads: int | None, plugin_dirs: tuple[Path, ...]
) -> int:
    """Compute profiles and store them beside their problems, with command, commit, error estimate and eigenvalues.

    λ is computed again with more collocation points per element and on a shorter axis, both from the profile found;
    its error estimate is the larger of the two differences. A profile is stored only if it has as many growing modes
    as its order.

    \b
    usd-bench references build -p 'hou_luo[order=[0,1,2,3]]'
    usd-bench references build -p 'ipm[order=4]' -s 'continuation[angles=100]'
    """
    registry = load_registry(plugin_dirs)

    import torch

    from usd_bench.reproducibility import cores
    from usd_bench.run.plan import build_problem
    from usd_bench.selectors import parse

    if len(parse(solver)) != 1:
        raise click.UsageError(
            f"--solver {solver!r}: one solver at a time builds references, without a grid of settings"
        )
    variants = _variants(registry, solver)
    threads = threads or cores()
    torch.set_num_threads(threads)
    failed = 0
    for selection in parse(",".join(problems)):
        problem = build_problem(registry, selection)
        label = selector(selection.name, selection.parameters)
        try:
            header = _build(registry, problem, label, solver, variants, max_time, threads, plugin_dirs)
        except UsdBenchError as error:
            failed += 1
            click.echo(f"{label}: not built: {error}", err=True)
            continue
        click.echo(
            f"{label}: λ = {header['lam']:.15g} ± {header['lam_error']:.1e}, residual {header['res_max']:.1e}, "
            f"{len(header['unstable']) if header['unstable'] is not None else 'unknown'} unstable modes, "
            f"{header['time_s']:.0f} s"
        )
    return int(failed > 0)


def _build(
    registry: Registry,
    problem: Problem,
    label: str,
    solver: str,
    variants: dict[str, str],
    max_time: float,
    threads: int,
    plugin_dirs: tuple[Path, ...],
) -> dict[str, Any]:
    from usd_bench.collocation.compact import FINEST, rounding_step
    from usd_bench.collocation.reference import kept, provenance, store, stored_profile
    from usd_bench.reproducibility import commit

    before = provenance(problem) if "warm_start=reference" in solver else None
    started_from = {} if before is None else {"started_from": before["command"]}
    with tempfile.TemporaryDirectory() as folder, kept(problem):
        out = Path(folder)
        row, tensors = _run(registry, label, solver, max_time, threads, out, plugin_dirs)
        header: dict[str, Any] = {
            "problem": label.partition("[")[0],
            "parameters": problem.parameters.model_dump(mode="json"),
            "lam": row["lam"],
            "command": f"usd-bench references build -p '{label}' -s '{solver}'",
            "commit": commit(),
            **started_from,
            "threads": threads,
            "time_s": row["time_solve_s"],
        }
        store(problem, tensors, header)
        for name, config in variants.items():
            warm = f"spectral_newton[warm_start=reference,{config}]"
            header[f"lam_{name}"] = _run(registry, label, warm, max_time, threads, out, plugin_dirs)[0]["lam_last"]
        differences = [abs(header[f"lam_{name}"] - header["lam"]) for name in ("resolution", "truncation")]
        header["lam_error"] = max(*differences, math.ulp(abs(header["lam"])))
        profile = stored_profile(problem)
        assert profile is not None  # just stored
        res_max, cond_max = _measured(problem, profile)
        header.update(res_max=res_max, cond_max=cond_max)
        fault = _stability(problem, profile, header)
        header["rounding"] = rounding_step(res_max)
        if header["rounding"] > FINEST:  # than it was measured at
            store(problem, tensors, header)
            profile = stored_profile(problem)
            assert profile is not None
            header["res_max"], header["cond_max"] = _measured(problem, profile)
        store(problem, tensors, header)
        if fault:
            rejected = problem.reference_path.with_suffix(".rejected.safetensors")
            problem.reference_path.replace(rejected)
            raise UsdBenchError(
                f"λ = {header['lam']:.12g}, residual {header['res_max']:.1e}: {fault}. Kept for inspection: {rejected}"
            )
    return header


def _stability(problem: Problem, profile: PiecewiseProfile, header: dict[str, Any]) -> str | None:
    """Adds the growing modes to the header. Returns what speaks against the profile, if anything does."""
    from usd_bench.analysis.spectrum import COUNT, spectrum
    from usd_bench.errors import SpectrumError

    header.update(unstable=None, symmetry_error=None)
    if not problem.evolution:
        return None
    try:
        found = spectrum(problem, profile, COUNT + 2 * problem.order)
    except SpectrumError as error:
        return str(error)
    header.update(
        unstable=[[float(mu.real), float(mu.imag)] for mu in found.unstable],
        symmetry_error=max(found.symmetry_errors.values()),
    )
    if len(found.unstable) == problem.order:
        return None
    return f"{len(found.unstable)} growing modes, and an order-{problem.order} profile has {problem.order}"


def _measured(problem: Problem, profile: PiecewiseProfile) -> tuple[float, float]:
    """Largest residual, at the held-out points and in every element off its nodes, and error of the side conditions."""
    from usd_bench.collocation.piecewise import between_nodes
    from usd_bench.metrics import COND_MAX, RES_MAX, measure

    measured = measure(problem, profile)
    inside = measure(problem, profile, between_nodes(problem, profile))
    return max(RES_MAX.compute(measured), RES_MAX.compute(inside)), COND_MAX.compute(measured)


def _variants(registry: Registry, solver: str) -> dict[str, str]:
    """How λ is computed again, for its error: beyond the solver's resolution, and on a shorter axis."""
    from usd_bench.run.plan import build_solver
    from usd_bench.selectors import parse

    base: Any = build_solver(registry, parse(solver)[0]).config
    if not hasattr(base, "tolerance"):
        raise UsdBenchError(f"{solver} does not build references; use continuation or spectral_newton")
    finest = max(limit.le for limit in type(base).model_fields["degree"].metadata if hasattr(limit, "le"))
    same = f"degree={base.degree},tolerance={base.tolerance:g},angles={base.angles},elements={base.elements}"
    finer = f"degree={min(base.degree + 1, finest)},tolerance={base.tolerance / 10:g},angles={base.angles * 9 // 8}"
    finer += f",elements={base.elements}"
    return {"resolution": finer, "truncation": f"{same},stretch={0.9 * base.stretch:g}"}


def _run(
    registry: Registry,
    label: str,
    solver: str,
    max_time: float,
    threads: int,
    out: Path,
    plugin_dirs: tuple[Path, ...],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One run in a worker of its own: its row, and the profile's tensors."""
    from usd_bench.cli.progress import display
    from usd_bench.run.executor import execute
    from usd_bench.run.loop import FINISHED
    from usd_bench.run.plan import Limits, plan
    from usd_bench.store.reader import find_run, read_trace
    from usd_bench.tensorfile import read_tensors

    (job,) = plan(registry, label, solver, [0], Limits(max_time=max_time, until={}))
    with display(1, False) as show:
        if execute([job], out, parallel=1, threads=threads, plugin_dirs=plugin_dirs, on_event=show):
            raise click.Abort
    row = find_run(out, job.run_id)
    if row["reason"] != FINISHED:
        raise UsdBenchError(f"{solver} ended {row['status']}: {row['reason']}")
    row["lam_last"] = float(read_trace(out, job.run_id)["lam"].iloc[-1])  # the best may be where it started
    return row, read_tensors(out / "artifacts" / job.run_id / "profile.safetensors", "profile")[1]


@command.command()
@click.option("-p", "--problem", "problems", multiple=True, help="Problems.  [default: every stored profile]")
@json_option
@plugins_option
def verify(problems: tuple[str, ...], as_json: bool, plugin_dirs: tuple[Path, ...]) -> int:
    """Measure every stored profile anew, and compare with what its file says and with the published λ.

    \b
    usd-bench references verify
    usd-bench references verify -p 'ccf[order=1]' --json

    Exit code 1 when a residual is more than twice what the file says, or λ differs from the published value by
    more than the digits of its source and the file's error estimate allow.
    """
    registry = load_registry(plugin_dirs)

    from usd_bench.cli.list import known_problems
    from usd_bench.collocation.reference import provenance, stored_profile

    rows = []
    for name, problem in known_problems(registry, problems):
        header, profile = provenance(problem), stored_profile(problem)
        if header is None or profile is None:
            if problems:
                rows.append({"problem": name, "order": problem.order, "verdict": "no stored profile"})
            continue
        res_max, cond_max = _measured(problem, profile)
        target = problem.target
        faults = []
        if not res_max <= 2 * header["res_max"] + 1e-13:
            faults.append(f"residual {res_max:.1e}, the file says {header['res_max']:.1e}")
        if not cond_max <= 2 * header["cond_max"] + 1e-13:
            faults.append(f"side conditions {cond_max:.1e}, the file says {header['cond_max']:.1e}")
        allowed = 3 * header["lam_error"]
        if target is not None:
            allowed += 10.0 ** (1 - target.digits) * (abs(target.lam) or 1)
        if target is not None and abs(profile.lam - target.lam) > allowed:
            faults.append(f"λ differs from the published value by {profile.lam - target.lam:.1e}")
        rows.append(
            {
                "problem": selector(name, problem.parameters.model_dump(mode="json")),
                "order": problem.order,
                "lam": profile.lam,
                "res_max": res_max,
                "cond_max": cond_max,
                "verdict": "; ".join(faults) or "ok",
            }
        )
    if as_json:
        print_json(rows)
    else:
        print_rows(
            rows,
            {
                "problem": lambda r: r["problem"],
                "λ": lambda r: number(r.get("lam"), ".13g"),
                "res_max": lambda r: number(r.get("res_max"), ".1e"),
                "cond_max": lambda r: number(r.get("cond_max"), ".1e"),
                "verdict": lambda r: r["verdict"],
            },
        )
    return int(any(row["verdict"] != "ok" for row in rows))
