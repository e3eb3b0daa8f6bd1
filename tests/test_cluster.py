"""Sweeps on a cluster: real schedulers, real workers, real deaths."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import OF_THE_HOUR, Cli, one_line_error, program
from usd_bench.run.contention import Cores
from usd_bench.store.reader import read

posix = pytest.mark.skipif(os.name != "posix", reason="signals and file locks are POSIX's")

TINY = ("-p", "burgers", "-s", "gauss_newton[hidden=4,points=30]", "--max-iter", "3", "--threads", "1")


def measured(out: Path, kind: str = "runs") -> list[dict[str, Any]]:
    """The rows of a store, timings aside, in their order."""
    rows, warnings = read(out, kind)
    assert not warnings
    kept = [{k: v for k, v in row.items() if k not in OF_THE_HOUR} for row in rows]
    return sorted(kept, key=lambda row: (row["run_id"], row.get("iteration", 0)))


def same(one: Path, other: Path) -> bool:
    """Whether two stores hold the same runs and evaluations."""
    return measured(one) == measured(other) and measured(one, "trace") == measured(other, "trace")


def ran(folder: Path, *arguments: str, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """A run that went well."""
    done = program(folder, "run", *arguments, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done


# -- workers of this machine -----------------------------------------------------------------------------------------


def test_a_sweep_on_workers_equals_the_serial_one_row_for_row(tmp_path: Path) -> None:
    ran(tmp_path, *TINY, "--seeds", "3", "--out", "serial", "-q")
    done = ran(tmp_path, *TINY, "--seeds", "3", "--out", "cluster", "--executor", "dask", "--jobs", "2")
    assert same(tmp_path / "serial", tmp_path / "cluster")
    assert re.search(r"^dashboard  http://", done.stderr, re.M)
    assert "3/3    budget: burgers" in done.stderr
    assert {row["contended"] for row in read(tmp_path / "cluster", "runs")[0]} <= {True, False}
    again = ran(tmp_path, *TINY, "--seeds", "3", "--out", "cluster", "--executor", "dask")
    assert "nothing to run" in again.stderr


def test_a_failing_run_is_a_row_and_is_not_begun_again(tmp_path: Path) -> None:
    plugins = Path(__file__).parent / "plugins"
    done = program(
        tmp_path,
        *("run", "-p", "burgers", "-s", "raising", "--max-iter", "3", "--threads", "1", "--plugins-dir", str(plugins)),
        *("--executor", "dask", "-q"),
    )
    assert done.returncode == 1, done.stderr
    ((row,), _) = read(tmp_path / "results", "runs")
    assert (row["status"], "lost" in row["reason"]) == ("error", False)


# -- schedulers and workers that die ---------------------------------------------------------------------------------


STRICT = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
"""A scheduler that gives a task back as soon as its worker is lost."""


class Cluster:
    """A scheduler and workers, as processes of their own."""

    def __init__(self, folder: Path, workers: int, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self._folder, self._options = folder, options
        self.workers: list[subprocess.Popen[bytes]] = []
        self.lost: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", self.address.rpartition(":")[2])
        for _ in range(workers):
            self.add()

    def add(self) -> None:
        """One more worker, a task at a time, under no nanny."""
        worker = self._start("worker", self.address, "--nthreads", "1", "--no-nanny", *self._options)
        self.workers.append(worker)

    def lose(self, worker: subprocess.Popen[bytes]) -> None:
        """Kill a worker; another takes its place."""
        worker.kill()
        self.workers.remove(worker)
        self.lost.append(worker)
        self.add()

    def _start(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli.dask_" + what, *arguments, "--no-dashboard"]
        with (self._folder / f"{what}.log").open("ab") as log:
            return subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, env=os.environ | STRICT)

    def close(self) -> None:
        for process in [*self.workers, *self.lost, self.scheduler]:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(tmp_path, 2)
    yield found
    found.close()


@pytest.fixture
def going(tmp_path: Path) -> Iterator[Any]:
    """Starts a run and goes on; what a failed test leaves is ended."""
    started: list[subprocess.Popen[str]] = []

    def go(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "usd_bench", "run", *arguments]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        started.append(process)
        return process

    yield go
    for process in started:
        process.kill()
        process.communicate()


def wait_for(what: Any, seconds: float = 120) -> None:
    patience = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < patience
        time.sleep(0.05)


def stored(out: Path) -> int:
    return len(list(out.glob("runs/*.parquet")))


@posix
def test_lost_workers_and_a_lost_scheduler_lose_no_finished_row(cluster: Cluster, going: Any, tmp_path: Path) -> None:
    sweep = (*TINY, "--seeds", "6", "--out", "killed", "--scheduler", cluster.address)
    process = going(*sweep)
    wait_for(lambda: stored(tmp_path / "killed") >= 2)
    cluster.lose(cluster.workers[0])
    wait_for(lambda: stored(tmp_path / "killed") >= 3)
    cluster.scheduler.kill()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert "is gone; what ended is stored in killed" in said
    assert "Traceback" not in said
    before = {row["run_id"]: row["started_at"] for row in read(tmp_path / "killed", "runs")[0]}
    assert len(before) >= 3
    cluster.close()
    fresh = Cluster(tmp_path, 2)
    try:
        done = program(tmp_path, "run", *sweep[:-1], fresh.address)
    finally:
        fresh.close()
    assert done.returncode == 0, done.stderr
    after = {row["run_id"]: row["started_at"] for row in read(tmp_path / "killed", "runs")[0]}
    assert before.items() <= after.items()  # nothing that had ended ran twice
    ran(tmp_path, *TINY, "--seeds", "6", "--out", "serial", "-q", "--jobs", "2")
    assert same(tmp_path / "serial", tmp_path / "killed")


@posix
def test_a_run_whose_worker_is_lost_too_often_is_a_row_that_says_so(
    cluster: Cluster, going: Any, tmp_path: Path
) -> None:
    slow = ("-p", "burgers", "-s", "adam", "--max-time", "300", "--until", "res_max=1e-15", "--threads", "1")
    process = going(*slow, "--scheduler", cluster.address, "--retries", "1")
    for _ in range(2):
        wait_for(lambda: any("usd_bench.run.worker" in line for line in children_of(cluster.workers)))
        time.sleep(1)
        (busy,) = [w for w in cluster.workers if any("usd_bench.run.worker" in line for line in children_of([w]))]
        cluster.lose(busy)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    ((row,), _) = read(tmp_path / "results", "runs")
    assert (row["status"], row["reason"][:29]) == ("killed", "its worker was lost 2 times: ")


def children_of(processes: list[subprocess.Popen[bytes]]) -> list[str]:
    """The command lines of their children."""
    found = []
    for process in processes:
        children = Path(f"/proc/{process.pid}/task").glob("*/children")
        for pid in " ".join(path.read_text() for path in children).split():
            found.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
    return found


@posix
def test_an_interrupt_ends_what_runs_on_workers_and_begins_no_more(
    cluster: Cluster, going: Any, tmp_path: Path
) -> None:
    slow = ("-p", "burgers", "-s", "adam", "--max-time", "300", "--until", "res_max=1e-15", "--threads", "1")
    process = going(*slow, "--seeds", "6", "--scheduler", cluster.address)
    wait_for(lambda: len(list(tmp_path.glob("results/artifacts/*/last.ckpt"))) >= 2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    rows, _ = read(tmp_path / "results", "runs")
    assert [row["status"] for row in rows] == ["killed", "killed"]
    wait_for(lambda: not children_of(cluster.workers))


def test_a_gpu_takes_one_job_at_a_time(tmp_path: Path) -> None:
    """The resource is what keeps jobs apart, on whatever a worker calls by that name."""
    code = (
        "import json, sys, time\n"
        "from distributed import Client\n"
        "def job(k):\n"
        "    began = time.time(); time.sleep(0.3); return began, time.time()\n"
        "with Client(sys.argv[1]) as client:\n"
        "    spans = client.gather([client.submit(job, k, resources={'GPU': 1}, pure=False) for k in range(4)])\n"
        "print(json.dumps(sorted(spans)))\n"
    )
    found = Cluster(tmp_path, 1, "--resources", "GPU=1")
    try:
        done = subprocess.run([sys.executable, "-c", code, found.address], capture_output=True, text=True, timeout=100)
    finally:
        found.close()
    spans = json.loads(done.stdout)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def test_jobs_on_gpus_are_refused_where_no_worker_offers_one(cluster: Cluster, tmp_path: Path) -> None:
    done = program(tmp_path, "run", *TINY, "--device", "cuda", "--scheduler", cluster.address, "-q")
    assert "no worker offers a GPU" in one_line_error(done)


def test_a_folder_that_workers_do_not_see_is_refused(cluster: Cluster, tmp_path: Path, monkeypatch: Any) -> None:
    from distributed import Client

    from usd_bench.errors import ClusterError
    from usd_bench.run.cluster import _check_workers

    (tmp_path / "private").mkdir()
    with Client(cluster.address) as client:
        _check_workers(client, tmp_path / "private", on_gpu=False)
        run = client.run

        def elsewhere(function: Any, path: str) -> Any:
            return run(function, path + "-on-another-machine")

        monkeypatch.setattr(client, "run", elsewhere)
        with pytest.raises(ClusterError, match="a folder that all machines share"):
            _check_workers(client, tmp_path / "private", on_gpu=False)


# -- bad input --------------------------------------------------------------------------------------------------------


def test_bad_input_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--scheduler goes with --executor dask" in one_line_error(
        cli("run", *TINY, "--scheduler", "tcp://127.0.0.1:1", "--executor", "local")
    )
    assert "without a number" in one_line_error(cli("run", *TINY, "--device", "cuda:1", "--scheduler", "tcp://h:1"))
    assert "expected an address, as tcp://host:8786" in one_line_error(cli("run", *TINY, "--scheduler", " "))
    assert "--jobs is for this machine" in one_line_error(cli("run", *TINY, "--scheduler", "tcp://h:1", "--jobs", "1"))
    assert "--retries is for lost workers" in one_line_error(cli("run", *TINY, "--retries", "1"))
    assert "leave out --part" in one_line_error(cli("run", *TINY, "--part", "1/2", "--print-slurm"))
    for option in (("--executor", "dask"), ("--scheduler", "tcp://h:1")):
        assert "for clusters without dask" in one_line_error(cli("run", *TINY, *option, "--print-slurm"))
    for part in ("0/3", "4/3", "x", "1/"):
        assert "expected K/N" in one_line_error(cli("run", *TINY, "--part", part))
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "usd_bench.run.cluster", raising=False)
    assert "usd-bench[dask]" in one_line_error(cli("run", *TINY, "--executor", "dask"))


def test_an_address_where_nobody_answers_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import usd_bench.run.cluster as cluster; cluster.PATIENCE = 2.0\n"
        "from usd_bench.cli.main import main\n"
        f"main(['run', *{TINY!r}, '--scheduler', 'tcp://127.0.0.1:9', '-q'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert "no scheduler answers at tcp://127.0.0.1:9" in one_line_error(done)


# -- shared cores ----------------------------------------------------------------------------------------------------

HOLD = """import sys; from usd_bench.run.contention import Cores
with Cores(int(sys.argv[1])):
    print(flush=True)
    input()
"""


@posix
def test_runs_that_share_their_cores_are_marked_for_good() -> None:
    cores = len(os.sched_getaffinity(0))
    with Cores(1) as own:
        if own.contended():
            pytest.skip("other runs are on this machine now")
        other = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(cores)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        other.stdout.readline()
        assert own.contended() is True
        other.kill()
        other.communicate()
        assert own.contended() is True
    with Cores(1) as later:
        assert later.contended() is False


@posix
def test_a_run_with_more_threads_than_cores_is_contended_by_itself(rows: Any) -> None:
    cores = len(os.sched_getaffinity(0))
    call = ("-p", "burgers", "-s", "adam", "--max-iter", "2")
    (row,) = rows(*call, "--threads", str(cores + 1))
    assert row["contended"] is True


def test_times_on_shared_cores_are_marked_where_they_are_shown(cli: Cli, rows: Any) -> None:
    cores = len(os.sched_getaffinity(0))
    rows("-p", "burgers", "-s", "adam", "--max-iter", "2", "--threads", str(cores + 1))
    shown = cli("list", "runs").stdout
    assert re.search(r"\d\*$", shown, re.M)
    assert "* on cores that it shared with other runs" in shown


# -- SLURM, without dask ---------------------------------------------------------------------------------------------


def test_the_tasks_of_the_printed_array_are_the_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    sweep = ("-p", "burgers[order=[0,1]]", "-s", "adam", "--max-iter", "2", "--seeds", "2", "--until", "res_max=1e-9")
    done = program(folder, "run", *sweep, "--out", "my results", "--threads", "1", "--jobs", "3", "--print-slurm")
    assert done.returncode == 0, done.stderr
    assert not (folder / "my results").exists()
    script = folder / "sweep.sh"
    script.write_text(done.stdout, encoding="utf-8")
    said = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", done.stdout, re.M))
    assert said["array"] == "1-4%3"
    assert said["cpus-per-task"] == "1"
    assert re.fullmatch(r"\d\d:\d\d:\d\d", said["time"])
    assert "gres" not in said
    for task in range(1, 5):
        environment = os.environ | {"SLURM_ARRAY_TASK_ID": str(task)}
        subprocess.run(["bash", script], cwd="/", env=environment, check=True, capture_output=True)
        assert stored(folder / "my results") == task
    ran(tmp_path, *sweep, "--threads", "1", "--out", "serial", "-q", "--jobs", "2")
    assert same(tmp_path / "serial", folder / "my results")


def test_a_job_on_a_gpu_asks_slurm_for_one(cli: Cli) -> None:
    done = cli("run", *TINY, "--device", "cuda", "--print-slurm")  # here there need not be one
    assert "#SBATCH --gres=gpu:1" in done.stdout


# -- what the page says ----------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parent.parent / "docs" / "cluster.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)```", PAGE, re.S | re.M)

QUEUE = """#!/usr/bin/env bash
copy=$(mktemp -p "$(dirname "$0")") && cp "$1" "$copy"
nohup bash "$copy" > "$copy.log" 2>&1 < /dev/null &
echo "Submitted batch job $!"
"""
"""A queue with room for everything: it runs what it is given."""


@posix
def test_workers_that_a_queue_starts_run_a_sweep(tmp_path: Path) -> None:
    (tmp_path / "sbatch").write_text(QUEUE, encoding="utf-8")
    (tmp_path / "scancel").write_text("#!/usr/bin/env bash\nkill $1\n", encoding="utf-8")
    for name in ("sbatch", "scancel"):
        (tmp_path / name).chmod(0o755)
    program = f"""if __name__ == "__main__":
    import subprocess, sys
{textwrap.indent(BLOCKS[0].replace("scale(jobs=2)", "scale(jobs=1)"), "    ")}
    with cluster:
        options = [*{TINY!r}, "-q", "--scheduler", cluster.scheduler_address]
        sys.exit(subprocess.run([sys.executable, "-m", "usd_bench", "run", *options]).returncode)
"""
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert stored(tmp_path / "results") == 1


@pytest.mark.parametrize(
    ("block", "asked"),
    [
        (1, ["#PBS -l select=1:ncpus=4:ngpus=1:mem=8GB", "#PBS -l walltime=08:00:00", "--resources GPU=1"]),
        (2, ["#BSUB -n 4", "#BSUB -W 08:00", "--nthreads 1"]),
    ],
)
def test_the_other_queues_are_asked_for_what_the_page_says(block: int, asked: list[str], tmp_path: Path) -> None:
    program = f"{BLOCKS[block]}\nprint(cluster.job_script())\ncluster.close()"
    run = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=True)
    assert [line for line in asked if line not in done.stdout] == []
    assert "export OMP_WAIT_POLICY=passive" in done.stdout


def test_the_object_for_kubernetes_shares_its_volume(tmp_path: Path) -> None:
    program = f"{BLOCKS[3]}\nimport json\nprint(json.dumps(spec))"
    run = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=True)
    spec = json.loads(done.stdout)
    worker = spec["spec"]["worker"]["spec"]
    assert (spec["kind"], spec["spec"]["worker"]["replicas"]) == ("DaskCluster", 4)
    assert worker["containers"][0]["args"][:3] == ["dask-worker", "--nthreads", "1"]
    assert worker["containers"][0]["volumeMounts"][0]["name"] == worker["volumes"][0]["name"]


# -- the proofs that take minutes ------------------------------------------------------------------------------------


@posix
@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_hundred_jobs_on_four_workers_equal_the_serial_sweep_whatever_dies(going: Any, tmp_path: Path) -> None:
    sweep = (*TINY, "--seeds", "200")
    ran(tmp_path, *sweep, "--out", "serial", "-q", timeout=1500)
    ran(tmp_path, *sweep, "--out", "cluster", "-q", "--executor", "dask", "--jobs", "4", timeout=1500)
    assert same(tmp_path / "serial", tmp_path / "cluster")
    moments = random.Random(0)
    found = Cluster(tmp_path, 4)
    process = going(*sweep, "--out", "killed", "--scheduler", found.address, "--retries", "20")
    wait_for(lambda: stored(tmp_path / "killed") >= 5)
    for _ in range(8):
        time.sleep(moments.uniform(2, 8))
        found.lose(found.workers[moments.randrange(4)])
    found.scheduler.kill()
    process.communicate(timeout=200)
    assert process.returncode == 2
    found.close()
    before = {row["run_id"]: row["started_at"] for row in read(tmp_path / "killed", "runs")[0]}
    assert 5 <= len(before) < 200
    shutil.rmtree(tmp_path / "dask-worker-space", ignore_errors=True)
    fresh = Cluster(tmp_path, 4)
    try:
        ran(tmp_path, *sweep, "--out", "killed", "-q", "--scheduler", fresh.address, timeout=1500)
    finally:
        fresh.close()
    after = {row["run_id"]: row["started_at"] for row in read(tmp_path / "killed", "runs")[0]}
    assert before.items() <= after.items()
    assert same(tmp_path / "serial", tmp_path / "killed")
