"""How list, compare and report grow with the store: synthetic runs at three sizes, seconds and peak memory of each.

OMP_WAIT_POLICY=passive .venv/bin/python benchmarks/store.py
.venv/bin/python benchmarks/store.py --runs 100 1000 10000 --evaluations 100
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from usd_bench.reproducibility import digest, environment
from usd_bench.store.writer import write_run

METHODS, PROBLEMS = 20, 10


def write_store(out: Path, runs: int, evaluations: int) -> None:
    """Runs of every method on every problem, whose residuals fall at random rates."""
    rng, env = np.random.default_rng(0), environment()
    for i in range(runs):
        problem, method, seed = i % PROBLEMS, i // PROBLEMS % METHODS, i // (PROBLEMS * METHODS)
        rate = rng.uniform(0.02, 0.3)
        trace = [
            {
                "iteration": k,
                "in_bracket": True,
                "lam": 0.5 + float(np.exp(-rate * k)),
                "res_max": float(np.exp(-rate * k)),
                "res_l2": 0.3 * float(np.exp(-rate * k)),
                "res_mean": 0.2 * float(np.exp(-rate * k)),
                "cond_max": 1e-12,
                "err_max": float(np.exp(-rate * k)),
                "n_residual": 2 * k,
                "n_jacobian": k,
                "n_jvp": 0,
                "n_vjp": 0,
                "n_linear_solve": k,
                "time_solve_s": 0.01 * k * (1 + rate),
                "time_eval_s": 0.002 * k,
            }
            for k in range(evaluations)
        ]
        budget = {"until": {"res_max": 1e-6}, "max_time": 60.0, "max_iter": None, "max_work": None, "eval_every": 10}
        last = {key: value for key, value in trace[-1].items() if key not in ("iteration", "in_bracket")}
        row = last | {
            "run_id": digest([i, runs]),
            "problem": f"problem{problem}",
            "order": 0,
            "parameters": json.dumps({"order": 0}),
            "solver": f"solver{method}",
            "config": json.dumps({f"setting{j}": j for j in range(12)}),
            "seed": seed,
            "budget": json.dumps(budget),
            "status": "converged" if last["res_max"] <= 1e-6 else "budget",
            "reason": "synthetic",
            "lam_ref": 0.5,
            "iterations": evaluations - 1,
            "iteration_best": evaluations - 1,
            "device": "cpu",
            "dtype": "float64",
            "threads": 1,
            "commit": "synthetic",
            "code": "{}",
            "started_at": datetime.now(UTC),
        }
        write_run(out, row, trace, env)


def measured(*arguments: str) -> tuple[float, float]:
    """Seconds and peak memory in MiB of a command in a process of its own."""
    code = (
        "import resource, sys; from usd_bench.cli.main import cli\n"
        "cli.main(sys.argv[1:], standalone_mode=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return time.perf_counter() - began, int(done.stderr.split()[-1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--evaluations", type=int, default=100, help="trace rows of each run")
    options = parser.parse_args()
    print("| runs | trace rows | list | compare | report | page |")
    print("|---|---|---|---|---|---|")
    for runs in options.runs:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "store"
            write_store(out, runs, options.evaluations)
            commands = {
                "list": ("list", "runs", "--out", str(out), "--json"),
                "compare": ("compare", str(out), str(out), "--json"),
                "report": ("report", "--out", str(out), "--html", f"{folder}/report.html"),
            }
            cells = ["{:.1f} s, {:.0f} MiB".format(*measured(*arguments)) for arguments in commands.values()]
            size = Path(f"{folder}/report.html").stat().st_size / 2**20
            print(f"| {runs} | {runs * options.evaluations} | {' | '.join(cells)} | {size:.1f} MiB |", flush=True)


if __name__ == "__main__":
    main()
