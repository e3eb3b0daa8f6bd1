"""Carrying out planned runs, as the commands that run share it: what is stored is skipped, the rest runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from usd_bench.cli.common import print_json, print_runs, warn

if TYPE_CHECKING:
    from usd_bench.registry import Registry
    from usd_bench.run.plan import Job

F = Callable[..., Any]


def machine_options(command: F) -> F:
    """What of a run says how the machine is used, and not what is computed."""
    for option in (
        click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Runs at a time."),
        click.option(
            "--threads", type=click.IntRange(min=1, max=4096), help="Threads per run.  [default: cores ÷ jobs]"
        ),
        click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N."),
    )[::-1]:
        command = option(command)
    return command


@dataclass(frozen=True)
class Done:
    """The rows of the planned runs that are stored, in their order, and whether the user interrupted."""

    rows: list[dict[str, Any]]
    interrupted: bool


def carry_out(
    planned: Sequence[Job],
    out: Path,
    *,
    jobs: int,
    threads: int | None,
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
            interrupted = execute(
                todo,
                out,
                parallel=jobs,
                threads=threads or max(1, cores() // min(jobs, len(todo))),
                grace=grace,
                plugin_dirs=plugin_dirs,
                resume=resume,
                following=Following(track, checkpoint_every, anew),
                on_event=show,
            )
    by_id = {row["run_id"]: row for row in read(out, "runs")[0]}
    return Done([by_id[job.run_id] for job in planned if job.run_id in by_id], interrupted)


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


def check_device(device: str) -> None:
    """Raise ``BadParameter`` for a device that this machine does not have."""
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise click.BadParameter(f"--device {device!r}: expected cpu, cuda or cuda:N")
    if kind == "cuda" and (torch.device(device).index or 0) >= torch.cuda.device_count():
        raise click.BadParameter(f"--device {device!r}: this machine has {torch.cuda.device_count()} CUDA devices")
