"""The worker: one job in one process. ``python -m usd_bench.run.worker`` reads a request from its input.

It writes its own files and tells its parent, in JSON lines on its output, what it measures. Its input ends when
the parent dies, however that happens, and then the worker ends too. Whatever a plugin prints goes to the log.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from usd_bench.errors import UsdBenchError

FLUSH_EVERY = 5.0
"""Seconds between two writes of checkpoints while a run goes on."""


def main() -> None:
    began = time.perf_counter()
    channel = _take_over_output()
    request = json.loads(sys.stdin.readline())
    stop = threading.Event()
    threading.Thread(target=_watch_parent, args=(stop,), daemon=True).start()

    def tell(event: str, **data: Any) -> None:
        channel.write(json.dumps({"event": event, **data}) + "\n")
        channel.flush()

    try:
        _work(request, stop, tell, began)
    except UsdBenchError as error:  # the store cannot be written: nothing to record it in
        tell("refused", reason=str(error))
        sys.exit(2)


def _take_over_output() -> IO[str]:
    """Keep the pipe to the parent for events; let every other write to standard output go to the log."""
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return channel


def _watch_parent(stop: threading.Event) -> None:
    for _ in sys.stdin:
        stop.set()
    os._exit(3)  # end of input: the parent is gone


def _work(request: Mapping[str, Any], stop: threading.Event, tell: Any, began: float) -> None:
    import torch

    from usd_bench.registry import Registry
    from usd_bench.reproducibility import derive_seed, environment, set_global_seed
    from usd_bench.run.checkpoint import read_tensors
    from usd_bench.run.loop import Observer, Outcome, drive
    from usd_bench.run.plan import Job, build_problem, build_solver
    from usd_bench.run.record import Setting, run_row
    from usd_bench.selectors import Selection
    from usd_bench.store.writer import write_run

    job = Job.from_json(request["job"])
    out, threads = Path(request["out"]), int(request["threads"])
    torch.set_num_threads(threads)
    seed = derive_seed(job.seed, job.problem)
    set_global_seed(seed)
    setting, outcome = Setting.begin(job, threads), Outcome()
    artifacts = None
    try:
        registry = Registry.load([Path(d) for d in request["plugin_dirs"]])
        problem = build_problem(registry, Selection(job.problem, job.parameters))
        solver = build_solver(registry, Selection(job.solver, job.config))
        metrics = {entry.name: entry.load() for entry in registry.of("metrics")}
        if job.device.startswith("cuda"):
            setting.device_name = torch.cuda.get_device_name(job.device)
        if problem.target is not None:
            setting.lam_ref = problem.target.lam
        artifacts = Artifacts(out / "artifacts" / job.run_id, job, registry)
        imported = time.perf_counter() - began

        def initial() -> Any:
            if request["resume"] is None:
                return solver.init(problem, seed, job.device)
            _, tensors = read_tensors(Path(request["resume"]), "checkpoint")
            return solver.State.from_tensors(tensors, job.device)

        def on_start() -> None:
            outcome.time_setup += imported
            tell("started", time_setup=outcome.time_setup, device_name=setting.device_name, lam_ref=setting.lam_ref)

        def on_evaluation(row: dict[str, Any], state: Any, profile: Any, best: bool) -> None:
            if setting.dtype is None:
                probe = problem.evaluation()[:1]
                setting.dtype = str(next(iter(profile.fields(probe).values())).dtype).removeprefix("torch.")
            artifacts.offer(row, state, profile, best)
            tell("evaluation", row=row, best=best, dtype=setting.dtype)

        reason = solver.supports(problem)
        if reason is None:
            observer = Observer(on_start, on_evaluation, stop.is_set)
            drive(problem, solver, job.budget, metrics, initial, job.device, observer, outcome)
        else:
            outcome.status, outcome.reason = "unsupported", reason
    except Exception as error:
        traceback.print_exc()
        outcome.status = "error"
        outcome.reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    if artifacts is not None:
        artifacts.close()
    setting.peak_rss_mib = _peak_memory()
    if job.device.startswith("cuda") and torch.cuda.is_available():
        setting.peak_gpu_mib = torch.cuda.max_memory_allocated(job.device) / 2**20
    row = run_row(job, outcome, setting)
    write_run(out, row, outcome.trace, environment())
    tell("done", status=outcome.status, reason=outcome.reason)


class Artifacts:
    """The files of a run: ``last.ckpt``, ``best.ckpt``, ``profile.safetensors``, and what the trackers write."""

    def __init__(self, folder: Path, job: Any, registry: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._header = {
            "problem": job.problem,
            "parameters": job.parameters,
            "solver": job.solver,
            "config": job.config,
            "run_id": job.run_id,
        }
        self._pending: dict[str, tuple[str, dict[str, Any], Mapping[str, Any]]] = {}
        self._flushed = time.monotonic()
        self._trackers = [entry.load()(folder) for entry in registry.of("trackers")]

    def offer(self, row: Mapping[str, Any], state: Any, profile: Any, best: bool) -> None:
        """Take what an evaluation produced; write it at once or soon."""
        header = self._header | {"iteration": row["iteration"], "lam": row["lam"], "res_max": row["res_max"]}
        tensors = state.to_tensors()
        self._pending["last.ckpt"] = ("checkpoint", header, tensors)
        if best:
            self._pending["best.ckpt"] = ("checkpoint", header, tensors)
            self._pending["profile.safetensors"] = ("profile", header, profile.tensors())
        if time.monotonic() - self._flushed > FLUSH_EVERY:
            self._flush()
        self._each_tracker(lambda tracker: tracker.log(row))

    def close(self) -> None:
        self._flush()
        self._each_tracker(lambda tracker: tracker.close())

    def _flush(self) -> None:
        from usd_bench.run.checkpoint import write_tensors

        for name, (kind, header, tensors) in self._pending.items():
            write_tensors(self._folder / name, kind, header, tensors)
        self._pending.clear()
        self._flushed = time.monotonic()

    def _each_tracker(self, call: Any) -> None:
        for tracker in list(self._trackers):
            try:
                call(tracker)
            except Exception as error:  # a tracker must never stop a run
                print(f"tracker {type(tracker).__name__} dropped: {type(error).__name__}: {error}", file=sys.stderr)
                self._trackers.remove(tracker)


def _peak_memory() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
