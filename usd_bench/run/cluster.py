"""Runs on a cluster, by dask.distributed: a second executor beside ``execute``, with the same contract.

A task of the cluster is a whole job, which the machine it lands on runs as any machine does: ``execute`` starts and
watches a process that writes its own files. So nothing but names, statuses and a line of progress passes the scheduler,
and a lost worker loses nothing but the time since the last checkpoint of its run. OUT must be a folder that all share.
Source: Rocklin, Proc. 14th Python in Science Conf. (2015) 126.
"""

from __future__ import annotations

import logging
import queue
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, Nanny, Scheduler, SpecCluster, get_worker

from usd_bench.errors import ClusterError, StoreError, one_line
from usd_bench.reproducibility import code_digest, cores, environment, worker_environment
from usd_bench.run.executor import NOTHING_ELSE, Event, Following, counted_interrupts, execute
from usd_bench.run.loop import Outcome
from usd_bench.run.plan import Job
from usd_bench.run.record import Setting, run_row
from usd_bench.store.writer import write_run

PATIENCE = 30.0
"""Seconds to wait for a scheduler to answer, and then for its first worker."""

TOLD_EVERY = 1.0
"""Seconds between two evaluations of a job that pass the scheduler, which may have thousands of jobs."""

GPU = "GPU"
"""The resource of which a worker offers one, and a job on a GPU takes one."""

_stopped: set[str] = set()
"""On a worker: the sweeps whose user has interrupted them."""


def execute_on_cluster(
    jobs: Sequence[Job],
    out: Path,
    *,
    scheduler: str | None,
    workers: int,
    threads: int | None,
    retries: int,
    grace: float = 10.0,
    plugin_dirs: Sequence[Path] = (),
    resume: Path | None = None,
    following: Following = NOTHING_ELSE,
    on_event: Callable[[Event], None],
    on_start: Callable[[str], None] = lambda dashboard: None,
) -> bool:
    """Run the jobs on the workers of a scheduler (``tcp://…``), or on so many ``workers`` of this machine.

    ``threads``: of each run; None: a worker's cores, shared among its tasks. ``retries``: how often a run whose worker
    was lost is begun again; after that it becomes a row that says so. ``on_start`` is told the dashboard's address.
    Returns whether the user interrupted. Raises ``ClusterError`` for a cluster that does not answer, is lost, or cannot
    run these jobs, and ``StoreError`` when results cannot be written.
    """
    if scheduler is None:
        threads = threads or max(1, cores() // workers)
    on_gpu = any(job.device.startswith("cuda") for job in jobs)
    sweep, attempts = secrets.token_hex(8), dict.fromkeys((job.run_id for job in jobs), 0)
    by_id = {job.run_id: job for job in jobs}
    request = {
        "sweep": sweep,
        "out": str(out.resolve()),
        "threads": threads,
        "grace": grace,
        "plugin_dirs": [str(d.resolve()) for d in plugin_dirs],
        "resume": None if resume is None else str(resume.resolve()),
        "track": following.track,
        "checkpoint_every": following.checkpoint_every,
        "anew": sorted(following.anew & attempts.keys()),
    }
    news: queue.Queue[Future | Event] = queue.Queue()
    pending: dict[str, tuple[Job, Future]] = {}

    with _quiet(), _client(scheduler, workers, threads, on_gpu) as client, counted_interrupts() as interrupts:
        _check_workers(client, out, on_gpu)
        on_start(client.dashboard_link)

        def submit(job: Job) -> None:
            key = f"run-{job.run_id}-{sweep}-{attempts[job.run_id]}"
            resources = {GPU: 1} if on_gpu else None
            future = client.submit(_run, job.to_json(), request, key=key, pure=False, resources=resources)
            pending[key] = job, future  # which is held here, or dask would drop its task
            future.add_done_callback(news.put)

        def heard(event: tuple[Any, Mapping[str, Any]]) -> None:
            message = event[1]
            news.put(Event(by_id[message["run_id"]], message["kind"], dict(message["data"])))

        client.subscribe_topic(sweep, heard)
        for job in jobs:
            submit(job)
        told = 0
        while pending:
            if interrupts() > told:
                told = interrupts()
                if told > 1:
                    break
                client.run(_stop, sweep)
            try:
                item = news.get(timeout=0.2)
            except queue.Empty:
                if client.status != "running":
                    raise _lost(scheduler, out) from None
                continue
            if isinstance(item, Event):
                on_event(item)
                continue
            job, error = pending.pop(item.key)[0], _error(item)
            if item.status == "finished":
                status, reason = item.result()
                if status:
                    on_event(Event(job, "done", {"status": status, "reason": reason}))
            elif isinstance(error, KilledWorker):
                attempts[job.run_id] += 1
                if attempts[job.run_id] <= retries and not told:
                    submit(job)
                else:
                    _store_lost(job, out, threads, attempts[job.run_id], on_event)
            elif isinstance(error, StoreError):
                raise error
            elif error is None or client.status != "running":
                raise _lost(scheduler, out)
            else:
                raise ClusterError(f"{job.label}: its worker could not run it: {one_line(error)}")
        return told > 0


def _run(job_data: dict[str, Any], request: Mapping[str, Any]) -> tuple[str, str]:
    """On a worker: one job, as this machine runs it. Returns how it ended; "" for one that was not begun."""
    if request["sweep"] in _stopped:
        return "", ""
    job, worker = Job.from_json(job_data), get_worker()
    ended, told = ("", ""), 0.0

    def tell(event: Event) -> None:
        nonlocal ended, told
        if event.kind == "done":
            ended = event.data["status"], event.data["reason"]
        elif event.kind == "evaluation" and time.monotonic() - told < TOLD_EVERY:
            pass
        elif event.kind in ("started", "evaluation", "warning"):
            told = time.monotonic()
            message = {"run_id": job.run_id, "kind": event.kind, "data": event.data}
            worker.log_event(request["sweep"], message)

    execute(
        [job],
        Path(request["out"]),
        parallel=1,
        threads=request["threads"] or max(1, cores() // worker.state.nthreads),
        grace=request["grace"],
        plugin_dirs=[Path(d) for d in request["plugin_dirs"]],
        resume=None if request["resume"] is None else Path(request["resume"]),
        following=Following(tuple(request["track"]), request["checkpoint_every"], frozenset(request["anew"])),
        on_event=tell,
        stopping=lambda: request["sweep"] in _stopped,
    )
    return ended


def _stop(sweep: str) -> None:
    """On a worker: end what runs of a sweep, and begin no more of it."""
    _stopped.add(sweep)


def _about(probe: str) -> dict[str, Any]:
    """On a worker: whether it sees a file of the client's, and which code it would run."""
    return {"sees": Path(probe).is_file(), "code": code_digest("usd_bench")}


@contextmanager
def _quiet() -> Iterator[None]:
    """What dask would log of lost connections is said here in one line, or is no fault."""
    loggers = [logging.getLogger(name) for name in ("distributed", "asyncio", "tornado")]
    speaking: list[logging.Logger | logging.Handler] = [*loggers, *(h for logger in loggers for h in logger.handlers)]
    before = [(thing, thing.level) for thing in speaking]
    try:
        for thing, _ in before:
            thing.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for thing, level in before:
            thing.setLevel(level)


@contextmanager
def _client(scheduler: str | None, workers: int, threads: int | None, on_gpu: bool) -> Iterator[Client]:
    """A client of that scheduler, or of one of its own."""
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        if scheduler is None:
            with _cluster(workers, threads or 1, on_gpu) as cluster, Client(cluster) as client:
                yield client
            return
        try:
            client = Client(scheduler, timeout=PATIENCE)
        except (OSError, ValueError, TimeoutError, ImportError) as error:
            raise ClusterError(f"no scheduler answers at {scheduler}: {one_line(error)}") from None
        with client:
            yield client


def _cluster(workers: int, threads: int, on_gpu: bool) -> SpecCluster:
    """Workers on this machine, a task at a time each; where jobs use GPUs, one for each worker."""

    def options(number: int) -> dict[str, Any]:
        gpu = {"CUDA_VISIBLE_DEVICES": str(number)} if on_gpu else {}
        return {
            "nthreads": 1,
            "memory_limit": 0,  # what a run takes is the run's, and no process of dask's
            "resources": {GPU: 1} if on_gpu else {},
            "env": worker_environment(threads) | gpu,
            "silence_logs": logging.CRITICAL,
        }

    return SpecCluster(
        workers={number: {"cls": Nanny, "options": options(number)} for number in range(workers)},
        scheduler={"cls": Scheduler, "options": {"dashboard_address": ":0"}},
        silence_logs=logging.CRITICAL,
    )


def _check_workers(client: Client, out: Path, on_gpu: bool) -> None:
    """Raise ``ClusterError`` unless there are workers, who all share OUT and run this code, with GPUs if needed."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise ClusterError(
            f"the scheduler has no worker after {PATIENCE:g} s; start some, then run this again"
        ) from None
    probe = out.resolve() / f".probe-{secrets.token_hex(8)}"
    probe.touch()
    try:
        found = client.run(_about, str(probe))
    finally:
        probe.unlink()
    for address, about in found.items():
        if not about["sees"]:
            raise ClusterError(
                f"worker {address} does not see {out.resolve()}: --out must be a folder that all machines share"
            )
        if about["code"] != code_digest("usd_bench"):
            raise ClusterError(f"worker {address} has another usd-bench; install the same on all machines")
    if on_gpu and not any(w["resources"].get(GPU) for w in client.scheduler_info(n_workers=-1)["workers"].values()):
        raise ClusterError(f"no worker offers a GPU; start each with `dask worker --nthreads 1 --resources {GPU}=1`")


def _error(future: Future) -> BaseException | None:
    return future.exception() if future.status == "error" else None


def _lost(scheduler: str | None, out: Path) -> ClusterError:
    where = f"the scheduler at {scheduler}" if scheduler else "the scheduler"
    return ClusterError(f"{where} is gone; what ended is stored in {out}, and the same command runs the rest")


def _store_lost(job: Job, out: Path, threads: int | None, times: int, on_event: Callable[[Event], None]) -> None:
    """The row of a run that no worker lived to write."""
    reason = f"its worker was lost {times} times: machine, memory or queue; see --retries" if times > 1 else _LOST_ONCE
    outcome = Outcome(status="killed", reason=reason)
    write_run(out, run_row(job, outcome, Setting.begin(job, threads or 1)), outcome.trace, environment())
    on_event(Event(job, "done", {"status": outcome.status, "reason": outcome.reason}))


_LOST_ONCE = "its worker was lost: machine, memory or queue"
