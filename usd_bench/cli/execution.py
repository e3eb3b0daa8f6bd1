"""Carrying out planned runs, as the commands that run share it: what is stored is skipped, the rest runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from usd_bench.cli.common import print_json, print_runs, warn
from usd_bench.errors import ClusterError

if TYPE_CHECKING:
    from usd_bench.registry import Registry
    from usd_bench.run.plan import Job

F = TypeVar("F", bound=Callable[..., Any])

RETRIES = 2
"""How often a run whose worker is lost begins again, if nobody says."""


@dataclass(frozen=True)
class Machines:
    """Where jobs run: the options of ``machine_options``, the device aside."""

    jobs: int | None = None
    threads: int | None = None
    executor: str | None = None
    scheduler: str | None = None
    retries: int | None = None

    @property
    def cluster(self) -> bool:
        """Whether a cluster runs them. Raises ``BadParameter`` for options of a cluster without one."""
        if self.scheduler is not None and not self.scheduler.strip():
            raise click.BadParameter(f"--scheduler {self.scheduler!r}: expected an address, as tcp://host:8786")
        if self.scheduler is not None and self.executor == "local":
            raise click.BadParameter("--scheduler goes with --executor dask")
        if self.scheduler is not None and self.jobs is not None:
            raise click.BadParameter("--jobs is for this machine; with --scheduler, workers' --nthreads say how many")
        cluster = self.executor == "dask" or self.scheduler is not None
        if self.retries is not None and not cluster:
            raise click.BadParameter("--retries is for lost workers; it goes with --executor dask or --scheduler")
        return cluster


def machine_options(command: F) -> F:
    """What of a run says how machines are used, and not what is computed: ``machines``, and the device."""

    @wraps(command)
    def with_machines(
        jobs: int | None,
        threads: int | None,
        executor: str | None,
        scheduler: str | None,
        retries: int | None,
        **others: Any,
    ) -> Any:
        return command(machines=Machines(jobs, threads, executor, scheduler, retries), **others)

    decorated: Any = with_machines
    for option in (
        click.option("--jobs", type=click.IntRange(min=1), help="Runs at a time on this machine.  [default: 1]"),
        click.option(
            "--threads", type=click.IntRange(min=1, max=4096), help="Threads per run.  [default: cores ÷ jobs]"
        ),
        click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N."),
        click.option(
            "--executor",
            type=click.Choice(["local", "dask"]),
            help="What runs them: this machine, or a cluster's workers.  [default: local, or dask with --scheduler]",
        ),
        click.option(
            "--scheduler", metavar="ADDRESS", help="A dask scheduler: tcp://host:8786.  [default: --jobs workers here]"
        ),
        click.option(
            "--retries",
            type=click.IntRange(min=0),
            help=f"On a cluster, how often a run whose worker is lost begins again.  [default: {RETRIES}]",
        ),
    )[::-1]:
        decorated = option(decorated)
    return cast(F, decorated)


@dataclass(frozen=True)
class Done:
    """The rows of the planned runs that are stored, in their order, and whether the user interrupted."""

    rows: list[dict[str, Any]]
    interrupted: bool


def carry_out(
    planned: Sequence[Job],
    out: Path,
    *,
    machines: Machines,
    quiet: bool,
    plugin_dirs: Sequence[Path],
    grace: float = 10.0,
    force: bool = False,
    retry: str | None = None,
    resume: Path | None = None,
    track: tuple[str, ...] = (),
    checkpoint_every: str | None = None,
) -> Done:
    """Run what is missing, with progress on standard error, and return every planned row."""
    from usd_bench.cli.progress import display
    from usd_bench.files import check_writable
    from usd_bench.reproducibility import cores
    from usd_bench.run.executor import Following, execute
    from usd_bench.store.reader import UNFINISHED, read, statuses

    on_cluster = _cluster_executor(machines, planned, quiet) if machines.cluster else None

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
    # What was killed, or left no row, goes on from its checkpoint; what ended some other way begins anew.
    anew = frozenset(job.run_id for job in todo if force or stored.get(job.run_id, "killed") not in UNFINISHED)
    if todo:
        with display(len(todo), quiet) as show:
            parallel = machines.jobs or 1
            threads = machines.threads or max(1, cores() // min(parallel, len(todo)))
            run = on_cluster or partial(execute, parallel=parallel, threads=threads)
            interrupted = run(
                todo,
                out,
                grace=grace,
                plugin_dirs=plugin_dirs,
                resume=resume,
                following=Following(track, checkpoint_every, anew),
                on_event=show,
            )
    by_id = {row["run_id"]: row for row in read(out, "runs")[0]}
    return Done([by_id[job.run_id] for job in planned if job.run_id in by_id], interrupted)


def _cluster_executor(machines: Machines, planned: Sequence[Job], quiet: bool) -> Callable[..., bool]:
    """The executor of these machines. Raises ``ClusterError`` without dask, or without the GPUs that jobs need."""
    try:
        from usd_bench.run.cluster import execute_on_cluster
    except ImportError as error:
        raise ClusterError(f"--executor dask needs dask: pip install 'usd-bench[dask]' ({error})") from None
    workers = machines.jobs or 1
    if machines.scheduler is None and any(job.device.startswith("cuda") for job in planned):
        import torch

        workers = min(workers, torch.cuda.device_count())
    if any(job.device not in ("cpu", "cuda") for job in planned):
        raise ClusterError("on a cluster every worker has its own GPU: use --device cuda, without a number")

    def started(dashboard: str) -> None:
        if not quiet:
            click.echo(f"dashboard  {dashboard}", err=True)

    return partial(
        execute_on_cluster,
        scheduler=machines.scheduler,
        workers=workers,
        threads=machines.threads,
        retries=RETRIES if machines.retries is None else machines.retries,
        on_start=started,
    )


def told(done: Done, *, quiet: bool, as_json: bool) -> int:
    """Print the rows, and return the exit code that they make."""
    from usd_bench.store.reader import FAILED

    if as_json:
        print_json(done.rows)
    elif not quiet:
        print_runs(done.rows)
    return 130 if done.interrupted else int(any(row["status"] in FAILED for row in done.rows))


def check_trackers(registry: Registry, names: Iterable[str]) -> None:
    """Raise ``SelectorError`` for a tracker that there is not."""
    for name in names:
        registry.get("trackers", name)


def _wanted(status: str | None, retry: str | None) -> bool:
    from usd_bench.store.reader import FAILED, UNFINISHED

    return status is None or status in UNFINISHED or (retry == "failed" and status in FAILED)


def check_device(device: str, here: bool = True) -> None:
    """Raise ``BadParameter`` for what is no device, or one that this machine does not have if runs are ``here``."""
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise click.BadParameter(f"--device {device!r}: expected cpu, cuda or cuda:N")
    if here and kind == "cuda" and (torch.device(device).index or 0) >= torch.cuda.device_count():
        raise click.BadParameter(f"--device {device!r}: this machine has {torch.cuda.device_count()} CUDA devices")
