"""``usd-bench run``: every pairing of problems and solvers, stored as measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from usd_bench.cli.common import (
    json_option,
    load_registry,
    out_option,
    plugins_option,
    print_json,
    print_runs,
    warn,
)

if TYPE_CHECKING:
    from usd_bench.run.plan import Job


@click.command("run")
@click.option(
    "-p", "--problem", "problems", multiple=True, required=True, help="Problems: name[param=value,param=[a,b]]."
)
@click.option("-s", "--solver", "solvers", multiple=True, required=True, help="Solvers, in the same form.")
@click.option("--seeds", type=click.IntRange(min=1, max=100_000), default=1, show_default=True, help="How many seeds.")
@click.option("--seed", type=click.IntRange(min=0, max=2**62), default=0, show_default=True, help="The first seed.")
@click.option("--max-iter", type=click.IntRange(min=0), help="Iterations.  [default: no limit]")
@click.option(
    "--max-time",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds inside the solver; a job that hangs beyond it is killed.  [default: the problem's]",
)
@click.option(
    "--until", help="Targets that end a run as converged: res_max=1e-6,lam_digits=8.  [default: the problem's]"
)
@click.option(
    "--eval-every", type=click.IntRange(min=1), help="Iterations between measurements.  [default: the solver's]"
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Seconds of silence beyond --max-time before a job is killed.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Runs at a time.")
@click.option("--threads", type=click.IntRange(min=1, max=4096), help="Threads per run.  [default: cores ÷ jobs]")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--force", is_flag=True, help="Repeat runs that are stored already.")
@click.option(
    "--retry", type=click.Choice(["failed"]), help="Repeat stored runs that ended in error, diverged or timeout."
)
@click.option(
    "--resume", type=click.Path(dir_okay=False, path_type=Path), help="Start from this checkpoint of the same pairing."
)
@click.option("-q", "--quiet", is_flag=True, help="No progress, no table.")
@json_option
@out_option
@plugins_option
def command(
    problems: tuple[str, ...],
    solvers: tuple[str, ...],
    seeds: int,
    seed: int,
    max_iter: int | None,
    max_time: float | None,
    until: str | None,
    eval_every: int | None,
    grace: float,
    jobs: int,
    threads: int | None,
    device: str,
    force: bool,
    retry: str | None,
    resume: Path | None,
    quiet: bool,
    as_json: bool,
    out: Path,
    plugin_dirs: tuple[Path, ...],
) -> int:
    """Run every pairing of problems and solvers with fixed seeds, and store what the harness measures.

    A finished run is not repeated: the same command again runs only what is missing. A list value is a grid.

    \b
    usd-bench run --problem toy_ipm --solver gauss_newton
    usd-bench run -p 'burgers[order=[0,1]]' -s gauss_newton,adam --seeds 3
    usd-bench run -p burgers -s 'gauss_newton[hidden=24x24]' --until res_max=1e-9
    usd-bench run -p ipm -s gauss_newton --device cuda --max-time 600

    Exit codes: 0 every run reached its target or spent its budget; 1 a run ended in error, diverged, timeout
    or killed; 2 bad input; 130 interrupted.
    """
    registry = load_registry(plugin_dirs)

    # Imported here: torch comes with them, and --help must not wait for it.
    from usd_bench.cli.progress import display
    from usd_bench.files import check_writable
    from usd_bench.reproducibility import cores
    from usd_bench.run.budget import parse_until
    from usd_bench.run.executor import execute
    from usd_bench.run.plan import Limits, plan
    from usd_bench.store.reader import FAILED, read, statuses

    _check_device(device)
    for name, seconds in {"--max-time": max_time, "--grace": grace}.items():
        if seconds is not None and not math.isfinite(seconds):
            raise click.BadParameter(f"{name} {seconds}: expected a number of seconds")
    limits = Limits(max_iter, max_time, None if until is None else parse_until(until), eval_every)
    planned = plan(registry, ",".join(problems), ",".join(solvers), range(seed, seed + seeds), limits, device)
    if resume is not None:
        planned = _resumed(planned, resume)
    check_writable(out)
    stored, warnings = statuses(out)
    warn(warnings)
    todo = [job for job in planned if force or _wanted(stored.get(job.run_id), retry)]
    if len(todo) < len(planned) and not quiet:
        click.echo(
            f"{len(planned) - len(todo)} of {len(planned)} runs are stored in {out} already"
            + ("; nothing to run (--force repeats them)" if not todo else ""),
            err=True,
        )
    interrupted = False
    if todo:
        with display(len(todo), quiet) as show:
            interrupted = execute(
                todo,
                out,
                parallel=jobs,
                threads=threads or max(1, cores() // min(jobs, len(todo))),
                grace=grace,
                plugin_dirs=plugin_dirs,
                resume=resume,
                on_event=show,
            )
    by_id = {row["run_id"]: row for row in read(out, "runs")[0]}
    rows = [by_id[job.run_id] for job in planned if job.run_id in by_id]
    if as_json:
        print_json(rows)
    elif not quiet:
        print_runs(rows)
    if interrupted:
        return 130
    return int(any(row["status"] in FAILED for row in rows))


def _wanted(status: str | None, retry: str | None) -> bool:
    from usd_bench.store.reader import FAILED, UNFINISHED

    return status is None or status in UNFINISHED or (retry == "failed" and status in FAILED)


def _check_device(device: str) -> None:
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise click.BadParameter(f"--device {device!r}: expected cpu, cuda or cuda:N")
    if kind == "cuda" and (torch.device(device).index or 0) >= torch.cuda.device_count():
        raise click.BadParameter(f"--device {device!r}: this machine has {torch.cuda.device_count()} CUDA devices")


def _resumed(planned: list[Job], checkpoint: Path) -> list[Job]:
    from dataclasses import replace

    from usd_bench.run.checkpoint import check_checkpoint

    if len(planned) != 1:
        raise click.BadParameter(f"--resume continues one run; these selectors and seeds make {len(planned)}")
    job = planned[0]
    digest = check_checkpoint(checkpoint, job.problem, job.parameters, job.solver, job.config, job.seed)
    return [replace(job, resume=digest)]
