"""The worker: one job in one process. ``python -m usd_bench.run.worker`` reads a request from its input.

It writes its own files and tells its parent, in JSON lines on its output, what it measures. Its input ends when
the parent dies, however that happens, and then the worker ends too. Whatever a plugin prints goes to the log.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from usd_bench.errors import StoreError, UsdBenchError, one_line
from usd_bench.problem import Problem
from usd_bench.profile import Profile
from usd_bench.registry import Registry
from usd_bench.reproducibility import code_identity, derive_seed, environment, set_global_seed
from usd_bench.run.artifacts import Artifacts
from usd_bench.run.checkpoint import Every, Interrupted, forget, interrupted
from usd_bench.run.contention import Cores
from usd_bench.run.loop import Observer, Outcome, drive
from usd_bench.run.plan import Job, build_problem, build_solver, load_metrics
from usd_bench.run.record import Setting, run_row
from usd_bench.selectors import Selection
from usd_bench.solver import Solver
from usd_bench.store.reader import UNFINISHED
from usd_bench.store.writer import write_run
from usd_bench.tensorfile import read_tensors

Tell = Callable[..., None]
"""``tell("evaluation", row=...)``: one event for the parent."""


def main() -> None:
    channel = _take_over_output()
    request = json.loads(sys.stdin.readline())
    stop = threading.Event()
    threading.Thread(target=_watch_parent, args=(stop,), daemon=True).start()

    def tell(event: str, **data: Any) -> None:
        try:
            channel.write(json.dumps({"event": event, **data}) + "\n")
            channel.flush()
        except OSError:  # the parent is gone: not this run's failure, so nothing is stored of it
            os._exit(3)

    try:
        _work(request, stop, tell)
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


def _work(request: Mapping[str, Any], stop: threading.Event, tell: Tell) -> None:
    """Run the job and store its row, whatever happens in between."""
    job = Job.from_json(request["job"])
    out, threads = Path(request["out"]), int(request["threads"])
    torch.set_num_threads(threads)
    setting, outcome = Setting.begin(job, threads), Outcome()
    try:
        with Cores(threads) as cores:
            _solve(job, request, out, stop, tell, setting, outcome, cores)
    except UsdBenchError as error:
        if isinstance(error, StoreError):
            raise
        outcome.status, outcome.reason = "error", str(error)
    except Exception as error:
        traceback.print_exc()
        outcome.status = "error"
        outcome.reason = one_line(error)
    setting.peak_rss_mib = _peak_memory()
    if job.device.startswith("cuda") and torch.cuda.is_available():
        setting.peak_gpu_mib = torch.cuda.max_memory_allocated(job.device) / 2**20
    write_run(out, run_row(job, outcome, setting), outcome.trace, environment())
    if outcome.status not in UNFINISHED:
        forget(out / "artifacts" / job.run_id)
    tell("done", status=outcome.status, reason=outcome.reason)


def _solve(
    job: Job,
    request: Mapping[str, Any],
    out: Path,
    stop: threading.Event,
    tell: Tell,
    setting: Setting,
    outcome: Outcome,
    cores: Cores,
) -> None:
    """Build the pairing, drive it, and fill ``setting`` and ``outcome`` on the way."""
    seed = derive_seed(job.seed, job.problem)
    set_global_seed(seed)
    registry = Registry.load([Path(d) for d in request["plugin_dirs"]])
    problem = build_problem(registry, Selection(job.problem, job.parameters))
    solver = build_solver(registry, Selection(job.solver, job.config))
    metrics = load_metrics(registry)
    plugins = registry.get("problems", job.problem).plugin, registry.get("solvers", job.solver).plugin
    if code_identity(plugins, problem.reference_path) != job.code:
        raise RuntimeError("the code has changed since this run was planned; run the command again")
    if job.device.startswith("cuda"):
        setting.device_name = torch.cuda.get_device_name(job.device)
    if problem.target is not None:
        setting.lam_ref = problem.target.lam
    lent = _without_held_out_points(build_problem(registry, Selection(job.problem, job.parameters)))
    unsupported = solver.supports(lent)
    if unsupported is not None:
        outcome.status, outcome.reason = "unsupported", str(unsupported)
        return
    since = None
    if request["go_on"]:
        since = interrupted(out / "artifacts" / job.run_id, job.run_id, job.budget.measured_at)
    every = request["checkpoint_every"] and Every.parse(request["checkpoint_every"])

    def warn(text: str) -> None:
        print(text, file=sys.stderr)
        tell("warning", text=text)

    with Artifacts(out, job, registry, problem, setting.threads, warn, request["track"], every, since) as artifacts:
        # By the wall clock, for the parent took the first reading; one that has been set back tells nothing.
        imported = max(0.0, time.time() - request["started"])

        header: Mapping[str, Any] = {"time_solve_s": 0.0, "time_eval_s": 0.0}
        checkpoint: Mapping[str, Tensor] = {}
        if since is not None:
            header, checkpoint = since.header, since.state
            _restore(since, job, lent, solver, artifacts, outcome)
        elif request["resume"] is not None:
            header, checkpoint = read_tensors(Path(request["resume"]), "checkpoint")

        def initial() -> Any:
            if checkpoint:
                return solver.State.from_tensors(checkpoint, job.device)
            return solver.init(lent, seed, job.device)

        def on_start() -> None:
            outcome.time_setup = imported
            setting.contended = cores.contended()
            at = since.iteration if since else 0
            if since is not None:
                tell("restored", rows=outcome.trace, best=outcome.best)
            device, lam_ref = setting.device_name, setting.lam_ref
            tell("started", time_setup=imported, device_name=device, lam_ref=lam_ref, iteration=at)

        def diagnosed(state: Any) -> Mapping[str, float]:
            try:
                return {name: float(value) for name, value in solver.diagnostics(lent, state).items()}
            except Exception as error:  # they are for looking at: no reason to lose a run
                print(f"no diagnostics: {one_line(error)}", file=sys.stderr)
                return {}

        def on_evaluation(row: dict[str, Any], state: Any, profile: Profile, best: bool) -> None:
            if setting.dtype is None:
                values = profile.fields(problem.evaluation()[:1])
                setting.dtype = str(next(iter(values.values())).dtype).removeprefix("torch.")
            setting.contended = cores.contended()
            artifacts.evaluated(row, {"rss_mib": _memory() or math.nan, **diagnosed(state)}, state, profile, best)
            tell("evaluation", row=row, best=best, dtype=setting.dtype)

        observer = Observer(on_start, on_evaluation, artifacts.passed, stop.is_set)
        spent = header["time_solve_s"], header["time_eval_s"]
        drive(problem, lent, solver, job.budget, metrics, initial, job.device, observer, outcome, spent)


def _restore(
    since: Interrupted, job: Job, lent: Problem, solver: Solver, artifacts: Artifacts, outcome: Outcome
) -> None:
    """Fill the outcome, and the files of the best profile, with what had been measured before the interruption."""
    outcome.trace = [line["row"] for line in since.lines]
    outcome.best = next((line["row"] for line in reversed(since.lines) if line["best"]), None)
    outcome.iterations = since.iteration
    if outcome.best is not None and since.best:
        state = solver.State.from_tensors(since.best, job.device)
        artifacts.restore_best(outcome.best, state, solver.profile(lent, state))


def _without_held_out_points(problem: Problem) -> Problem:
    """The instance that the solver is given: its own, so that it cannot change the harness's, and without the
    points it will be measured on.
    """

    def withheld() -> Tensor:
        raise PermissionError("the held-out points are the harness's own; use problem.collocation")

    problem.evaluation = withheld  # type: ignore[method-assign]
    return problem


def _memory() -> float | None:
    """Memory that this process holds in MiB, where the system tells."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _peak_memory() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
