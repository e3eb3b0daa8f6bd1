"""What a cluster costs: seconds per job on 1, 2 and 4 workers, and how fast ten thousand results are stored and read.

OMP_WAIT_POLICY=passive .venv/bin/python benchmarks/cluster.py
.venv/bin/python benchmarks/cluster.py --jobs 40 --results 10000 --workers 1 2 4
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster

from usd_bench.reproducibility import digest, environment
from usd_bench.store.reader import statuses
from usd_bench.store.writer import write_run

TINY = ("-p", "burgers", "-s", "gauss_newton[hidden=4,points=30]", "--max-iter", "3", "--threads", "1", "-q")


def seconds(folder: str, jobs: int, *options: str) -> float:
    """Wall clock of a sweep, as a user would start it."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "usd_bench", "run", *TINY, "--seeds", str(jobs), *options]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def store(out: str, first: int, count: int) -> int:
    """What a worker does for so many tiny runs that are over: it writes their files."""
    row: dict[str, Any] = {"problem": "p", "solver": "s", "seed": 0, "status": "budget", "reason": "3 iterations"}
    env = environment()
    for k in range(first, first + count):
        run_id = digest(k)
        write_run(Path(out), row | {"run_id": run_id}, [{"iteration": i} for i in range(4)], env)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--results", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    args = parser.parse_args()
    sweeps = {"this machine, --jobs 1": ("--jobs", "1"), "this machine, --jobs 2": ("--jobs", "2")}
    sweeps |= {f"dask, {n} workers": ("--executor", "dask", "--jobs", str(n)) for n in args.workers}
    print("| executor | start, s | seconds per job | jobs per minute |")
    print("|---|---|---|---|")
    for name, options in sweeps.items():
        with tempfile.TemporaryDirectory() as folder:
            few, many = args.jobs // 4, args.jobs
            short = seconds(folder, few, *options, "--out", "few")
            each = (seconds(folder, many, *options, "--out", "many") - short) / (many - few)
            print(f"| {name} | {short - few * each:.1f} | {each:.2f} | {60 / each:.0f} |", flush=True)
    print()
    print("| writers | results | stored, s | results per second | read, s |")
    print("|---|---|---|---|---|")
    for workers in args.workers:
        with (
            tempfile.TemporaryDirectory() as out,
            LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            chunks = [(k, min(100, args.results - k)) for k in range(0, args.results, 100)]
            began = time.perf_counter()
            client.gather([client.submit(store, out, *chunk, pure=False) for chunk in chunks])
            wrote = time.perf_counter() - began
            began = time.perf_counter()
            found, warnings = statuses(Path(out))
            assert len(found) == args.results
            assert not warnings
            read = time.perf_counter() - began
            rate = args.results / wrote
            print(f"| {workers} | {args.results} | {wrote:.1f} | {rate:.0f} | {read:.1f} |", flush=True)


if __name__ == "__main__":
    main()
