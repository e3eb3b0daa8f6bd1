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
)
from usd_bench.cli.execution import Machines, carry_out, check_device, check_trackers, machine_options, told
from usd_bench.cli.slurm import script

if TYPE_CHECKING:
    from usd_bench.run.plan import Job


def _part(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """``3/8``: the third of eight parts."""
    if value is None:
        return None
    first, slash, count = value.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise click.BadParameter(f"{value!r}: expected K/N with 1 ≤ K ≤ N, as 3/8")
    return int(first), int(count)


@click.command("run")
@click.option("-p", "--problem", "problems", multiple=True, help="Problems: name[param=value,param=[a,b]].")
@click.option("-s", "--solver", "solvers", multiple=True, help="Solvers, in the same form.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A suite of problems, solvers, seeds and budgets, instead; options given here come before what it says.",
)
@click.option("--seeds", type=click.IntRange(min=1, max=100_000), help="How many seeds.  [default: 1]")
@click.option("--seed", type=click.IntRange(min=0, max=2**62), help="The first seed.  [default: 0]")
@click.option("--max-iter", type=click.IntRange(min=0), help="Iterations.  [default: no limit]")
@click.option(
    "--max-work",
    type=click.IntRange(min=0),
    help="Evaluations of residual, Jacobian, and products with it.  [default: no limit]",
)
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
@machine_options
@click.option("--force", is_flag=True, help="Repeat runs that are stored already.")
@click.option(
    "--retry", type=click.Choice(["failed"]), help="Repeat stored runs that ended in error, diverged or timeout."
)
@click.option(
    "--resume", type=click.Path(dir_okay=False, path_type=Path), help="Start from this checkpoint of the same pairing."
)
@click.option(
    "--checkpoint-every",
    metavar="N|Ns",
    help="Write last.ckpt every N iterations, or N seconds (30s).  [default: at every evaluation, while that takes "
    "less than a tenth of the time]",
)
@click.option("--track", multiple=True, help="Trackers: tensorboard, mlflow, wandb, or a plugin's; csv always.")
@click.option("--part", metavar="K/N", callback=_part, help="Of the runs, every N-th from the K-th on.")
@click.option("--print-slurm", is_flag=True, help="Print a job array for sbatch, and run nothing.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no table.")
@json_option
@out_option
@plugins_option
def command(
    problems: tuple[str, ...],
    solvers: tuple[str, ...],
    config: Path | None,
    seeds: int | None,
    seed: int | None,
    max_iter: int | None,
    max_work: int | None,
    max_time: float | None,
    until: str | None,
    eval_every: int | None,
    grace: float,
    machines: Machines,
    device: str,
    force: bool,
    retry: str | None,
    resume: Path | None,
    checkpoint_every: str | None,
    track: tuple[str, ...],
    part: tuple[int, int] | None,
    print_slurm: bool,
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
    usd-bench run --config configs/suite/smoke.yaml --jobs 2 --threads 1
    usd-bench run -p toy_ipm -s gauss_newton --track tensorboard --checkpoint-every 30s
    usd-bench run --config sweep.yaml --scheduler tcp://host:8786
    usd-bench run --config sweep.yaml --threads 4 --print-slurm > sweep.sh

    A run that was interrupted or killed goes on from its last checkpoint when the same command is given again, and ends
    with the same numbers as one that was not; --force begins anew.

    Exit codes: 0 every run reached its target or spent its budget; 1 a run ended in error, diverged, timeout
    or killed; 2 bad input; 130 interrupted.
    """
    registry = load_registry(plugin_dirs)

    # Imported here: torch comes with them, and --help must not wait for it.
    from usd_bench.run.budget import parse_until
    from usd_bench.run.checkpoint import Every
    from usd_bench.run.plan import plan
    from usd_bench.run.suite import Budgets, read_suite

    check_device(device, here=machines.scheduler is None and not print_slurm)
    for name, seconds in {"--max-time": max_time, "--grace": grace}.items():
        if seconds is not None and not math.isfinite(seconds):
            raise click.BadParameter(f"{name} {seconds}: expected a number of seconds")
    said = Budgets(
        seeds=seeds,
        seed=seed,
        max_iter=max_iter,
        max_work=max_work,
        max_time=max_time,
        until=None if until is None else parse_until(until),
        eval_every=eval_every,
    )
    if config is not None:
        if problems or solvers:
            raise click.UsageError("--config names problems and solvers; give either it or --problem and --solver")
        planned = read_suite(config).jobs(registry, said, device)
    elif problems and solvers:
        first, number = said.seed or 0, said.seeds or 1
        planned = plan(
            registry, ",".join(problems), ",".join(solvers), range(first, first + number), said.limits, device
        )
    else:
        raise click.UsageError("what to run? Give --problem and --solver, or --config with a suite")
    if resume is not None:
        planned = _resumed(planned, resume)
    if checkpoint_every is not None:
        Every.parse(checkpoint_every)
    trackers = tuple(name.strip() for names in track for name in names.split(","))
    check_trackers(registry, trackers)
    if print_slurm:
        if part is not None:
            raise click.UsageError("--print-slurm makes the parts itself; leave out --part")
        if machines.cluster:
            raise click.UsageError("--print-slurm is for clusters without dask; leave out --executor and --scheduler")
        click.echo(script(click.get_current_context(), planned, machines.jobs, machines.threads))
        return 0
    if part is not None:
        planned = planned[part[0] - 1 :: part[1]]
    done = carry_out(
        planned,
        out,
        machines=machines,
        quiet=quiet,
        plugin_dirs=plugin_dirs,
        grace=grace,
        force=force,
        retry=retry,
        resume=resume,
        track=trackers,
        checkpoint_every=checkpoint_every,
    )
    return told(done, quiet=quiet, as_json=as_json)


def _resumed(planned: list[Job], checkpoint: Path) -> list[Job]:
    from dataclasses import replace

    from usd_bench.run.checkpoint import check_checkpoint, identity

    if len(planned) != 1:
        raise click.BadParameter(f"--resume continues one run; these selectors and seeds make {len(planned)}")
    job = planned[0]
    wanted = identity(job.problem, job.parameters, job.solver, job.config, job.seed, job.run_id)
    digest = check_checkpoint(checkpoint, wanted)
    return [replace(job, resume=digest)]
