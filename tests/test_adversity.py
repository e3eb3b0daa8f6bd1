"""What goes wrong on real machines: nothing stored is lost, nothing ends in a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import one_line_error

RUN = ("run", "-p", "burgers", "-s", "adam[hidden=4x4,points=30]", "--max-iter", "20", "--threads", "1")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def stored(out: Path) -> list[dict]:
    return pd.read_parquet(out / "runs").to_dict("records") if list(out.glob("runs/*.parquet")) else []


def test_a_full_disk_is_one_line_and_what_was_stored_stays(cli, small_disk: Path) -> None:
    out = small_disk / "store"
    assert cli(*RUN, "-q", "--out", str(out)).returncode == 0
    before = {path: path.read_bytes() for path in out.glob("*/*.parquet")}
    with contextlib.suppress(OSError), (small_disk / "ballast").open("wb") as ballast:
        while True:
            ballast.write(bytes(4096))
            ballast.flush()
    message = one_line_error(cli(*RUN, "-q", "--seed", "1", "--seeds", "3", "--out", str(out)))
    assert "No space left on device" in message
    assert {path: path.read_bytes() for path in out.glob("*/*.parquet")} == before
    assert cli("validate", str(out)).returncode == 0
    (small_disk / "ballast").unlink()
    assert cli(*RUN, "-q", "--seeds", "2", "--out", str(out)).returncode == 0
    assert len(stored(out)) == 2


def test_a_disk_that_fills_during_a_run_is_one_line_and_the_rest_is_kept(cli, small_disk: Path) -> None:
    """A hundred runs need more than the disk has."""
    out = small_disk / "store"
    done = cli(*RUN, "-q", "--seeds", "100", "--max-iter", "1", "--out", str(out))
    assert "No space left on device" in one_line_error(done)
    rows = stored(out)
    assert 0 < len(rows) < 100
    assert {row["status"] for row in rows} == {"budget"}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs mount")
def test_a_store_that_cannot_be_written_is_found_out_before_a_run(cli, small_disk: Path) -> None:
    out = small_disk / "store"
    assert cli(*RUN, "-q", "--out", str(out)).returncode == 0
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    began = time.monotonic()
    message = one_line_error(cli(*RUN, "-q", "--seed", "1", "--out", str(out)))
    assert "Read-only file system; choose another --out" in message
    assert time.monotonic() - began < 60
    assert len(stored(out)) == 1
    assert cli("list", "runs", "--out", str(out)).stdout.count("adam") == 1  # reading goes on


def test_a_clock_that_goes_backwards_harms_no_number(cli, tmp_path: Path) -> None:
    """The worker's wall clock is an hour behind its parent's, and falls further with every look at it."""
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "sitecustomize.py").write_text(
        "import sys, time\n"
        "if 'usd_bench.run.worker' in sys.orig_argv:\n"
        "    real, looks = time.time, iter(range(10**9))\n"
        "    time.time = lambda: real() - 3600 - 60 * next(looks)\n"
    )
    path = os.pathsep.join([str(tmp_path / "late"), os.environ.get("PYTHONPATH", "")])
    done = cli(*RUN, "--json", "-q", env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["time_setup_s"] == 0.0
    assert row["time_solve_s"] > 0
    trace = pd.read_parquet(tmp_path / "results" / "trace")
    assert trace["time_solve_s"].is_monotonic_increasing
    assert cli("validate", "results").returncode == 0


def test_a_store_may_have_any_name(cli, tmp_path: Path) -> None:
    out = 'Ergebnisse für λ ∈ ℝ/it\'s 100% "fine"'
    assert cli(*RUN, "-q", "--out", out, "--track", "tensorboard,mlflow").returncode == 0
    (row,) = stored(tmp_path / out)
    assert (tmp_path / out / "artifacts" / row["run_id"] / "worker.log").read_text() == ""
    for command in (
        ("list", "runs", "--out", out),
        ("show", row["run_id"], "--out", out),
        ("validate", out),
        ("report", "--out", out),
        ("reproduce", row["run_id"], "--out", out),
        ("sql", "select count(*) from runs", "--out", out),
    ):
        done = cli(*command)
        assert done.returncode == 0, (command, done.stderr)


def test_two_commands_at_once_on_one_store_lose_nothing(cli, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "usd_bench", *RUN, "-q", "--seeds", "3"]
    both = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    rows = stored(tmp_path / "results")
    assert sorted(row["seed"] for row in rows) == [0, 1, 2]
    assert cli("validate", "results").returncode == 0
    alone = cli(*RUN, "--seeds", "3", "--json", "-q", "--out", "alone")
    assert [row["lam"] for row in json.loads(alone.stdout)] == [
        row["lam"] for row in sorted(rows, key=lambda row: row["seed"])
    ]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")
def test_a_run_that_is_suspended_and_woken_goes_on(cli, tmp_path: Path) -> None:
    """As when a laptop is closed: time passes, and nobody has hung."""
    command = [sys.executable, "-m", "usd_bench", *RUN, "-q", "--max-iter", "3000", "--max-time", "60"]
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    patience = time.monotonic() + 120
    while not any(p.stat().st_size for p in tmp_path.glob("results/artifacts/*/metrics.csv")):
        assert time.monotonic() < patience
        time.sleep(0.05)
    (worker,) = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    for pid in (process.pid, worker):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2)
    for pid in (worker, process.pid):
        os.kill(pid, signal.SIGCONT)
    assert process.wait(timeout=200) == 0
    (row,) = stored(tmp_path / "results")
    assert (row["status"], row["iterations"]) == ("budget", 3000)
