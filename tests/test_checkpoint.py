"""Checkpoints: a run that was killed at any moment goes on, and ends with the bits of one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.conftest import PLUGINS, one_line_error
from usd_bench.errors import SelectorError
from usd_bench.run.checkpoint import BEST, LAST, TRACE, Every, forget, interrupted, write_checkpoint
from usd_bench.tensorfile import read_tensors, write_tensors

RUN = ("-p", "burgers", "-s", "gauss_newton[hidden=8x8,points=100]", "--max-iter", "400", "--until", "res_max=1e-99")
TIMES = ["time_solve_s", "time_eval_s"]

posix = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs signals and /proc")


# -- files -------------------------------------------------------------------------------------------------------------


def put(folder: Path, name: str, iteration: int, run_id: str = "a") -> None:
    header = {"iteration": iteration, "run_id": run_id}
    write_checkpoint(folder / name, header, {"theta": torch.tensor([float(iteration)])})


def put_trace(folder: Path, *best: int, upto: int = 40) -> None:
    lines = [{"row": {"iteration": n}, "best": n in best, "tracked": {}} for n in range(0, upto + 1, 10)]
    (folder / TRACE).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def every_tenth(iteration: int) -> bool:
    return iteration % 10 == 0


@pytest.mark.parametrize(
    ("text", "expected"), [("100", Every(iterations=100)), ("30s", Every(seconds=30.0)), ("0.5s", Every(seconds=0.5))]
)
def test_how_often_is_iterations_or_seconds(text: str, expected: Every) -> None:
    assert Every.parse(text) == expected


@pytest.mark.parametrize("text", ["0", "0s", "-3", "s", "-1s", "nans", "infs", "1.5", "1m", ""])
def test_how_often_says_what_it_expects(text: str) -> None:
    with pytest.raises(SelectorError, match="as 100, or seconds, as 30s"):
        Every.parse(text)


def test_a_run_goes_on_from_its_last_state_with_the_best_and_the_trace_before_it(tmp_path: Path) -> None:
    put(tmp_path, BEST, 20)
    put(tmp_path, LAST, 30)
    put_trace(tmp_path, 0, 20)
    found = interrupted(tmp_path, "a", every_tenth)
    assert (found.iteration, found.state["theta"].item(), found.best["theta"].item()) == (30, 30.0, 20.0)
    assert [line["row"]["iteration"] for line in found.lines] == [0, 10, 20]


def test_a_best_profile_that_is_newer_than_the_last_state_is_not_taken_for_the_one_before_it(tmp_path: Path) -> None:
    put(tmp_path, BEST, 20)
    put(tmp_path, LAST, 30)
    put(tmp_path, BEST, 40)
    put_trace(tmp_path, 0, 20, 40)
    assert interrupted(tmp_path, "a", every_tenth).best["theta"].item() == 20.0


@pytest.mark.parametrize("damage", [b"", b"half", None], ids=["empty", "garbage", "cut"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, damage: bytes | None, capsys) -> None:
    put(tmp_path, BEST, 0)
    put(tmp_path, LAST, 20)
    put(tmp_path, LAST, 30)
    put_trace(tmp_path, 0)
    whole = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(whole[:-5] if damage is None else damage)
    assert interrupted(tmp_path, "a", every_tenth).iteration == 20
    assert "passed over" in capsys.readouterr().err


def test_a_checkpoint_of_another_run_or_without_its_best_is_none_to_go_on_from(tmp_path: Path, capsys) -> None:
    assert interrupted(tmp_path, "a", every_tenth) is None
    put(tmp_path, LAST, 20, run_id="b")
    assert interrupted(tmp_path, "a", every_tenth) is None
    put(tmp_path, LAST, 30)
    put_trace(tmp_path, 10)
    assert interrupted(tmp_path, "a", every_tenth) is None
    assert "is lost" in capsys.readouterr().err


def test_a_trace_that_lacks_a_line_or_is_gone_is_none_to_go_on_with(tmp_path: Path, capsys) -> None:
    put(tmp_path, BEST, 0)
    put(tmp_path, LAST, 20)
    put_trace(tmp_path, 0)
    assert interrupted(tmp_path, "a", every_tenth).iteration == 20
    lines = (tmp_path / TRACE).read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / TRACE).write_text(lines[0] + "".join(lines[2:]), encoding="utf-8")
    assert interrupted(tmp_path, "a", every_tenth) is None
    (tmp_path / TRACE).unlink()
    assert interrupted(tmp_path, "a", every_tenth) is None
    assert capsys.readouterr().err.count("is not whole") == 2


def test_the_last_line_of_a_trace_may_be_cut_off(tmp_path: Path) -> None:
    put(tmp_path, BEST, 0)
    put(tmp_path, LAST, 20)
    put_trace(tmp_path, 0)
    text = (tmp_path / TRACE).read_text(encoding="utf-8")
    (tmp_path / TRACE).write_text(text[:-20], encoding="utf-8")
    assert [line["row"]["iteration"] for line in interrupted(tmp_path, "a", every_tenth).lines] == [0, 10]


def test_what_only_an_interrupted_run_needs_is_forgotten(tmp_path: Path) -> None:
    for name in (BEST, LAST, BEST, LAST):
        put(tmp_path, name, 10)
    put_trace(tmp_path)
    forget(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST, LAST]


# -- runs --------------------------------------------------------------------------------------------------------------


def result(folder: Path) -> tuple[pd.DataFrame, list[tuple[str, dict]], str]:
    """The trace but for its times, all tensors of the artifacts, and the status."""
    (run,) = (folder / "results" / "runs").glob("*.parquet")
    trace = pd.read_parquet(folder / "results" / "trace" / run.name).drop(columns=TIMES)
    artifacts = folder / "results" / "artifacts" / run.stem
    tensors = []
    for name, kind in ((LAST, "checkpoint"), (BEST, "checkpoint"), ("profile.safetensors", "profile")):
        tensors.append((name, read_tensors(artifacts / name, kind)[1]))
    names = {path.name for path in artifacts.iterdir()}
    assert not names & {TRACE, "last.previous.ckpt", "best.previous.ckpt"}
    lines = (artifacts / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(trace) + 1
    return trace, tensors, pd.read_parquet(run)["status"].item()


def same(one: Path, other: Path) -> bool:
    (trace, tensors, status), (trace2, tensors2, status2) = result(one), result(other)
    pd.testing.assert_frame_equal(trace, trace2, check_exact=True)
    for (name, first), (_, second) in zip(tensors, tensors2, strict=True):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name
    return status == status2


def go(folder: Path, *more: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "usd_bench", "run", "--threads", "1", *RUN, *more]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def finish(folder: Path, *more: str) -> str:
    process = go(folder, *more)
    _, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors
    return errors


def kill(process: subprocess.Popen[str]) -> None:
    """Parent and worker by SIGKILL, at once: nobody writes a last word."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pids = [process.pid, *map(int, children.read_text().split())] if children.exists() else [process.pid]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    process.communicate()


def kill_and_go_on(whole: Path, folder: Path, kills: int, seed: int) -> int:
    """Kill one run at random moments, then let it end; return how often it went on from a checkpoint."""
    finish(whole)
    random_moments, went_on = random.Random(seed), 0
    for i in range(kills):
        process = go(folder, "--checkpoint-every", random_moments.choice(["3", "17", "0.05s", "0.3s"]))
        # Reaching the solver takes a while that grows with the load: wait for that, then for a random moment more.
        patience = time.monotonic() + 120
        while process.poll() is None and not list(folder.glob(f"results/artifacts/*/{TRACE}")):
            assert time.monotonic() < patience
            time.sleep(0.02)
        if i % 4 != 3:  # every fourth dies while it begins
            time.sleep(random_moments.uniform(2.0, 4.5))
        if process.poll() is not None:
            process.communicate()
            break
        kill(process)
        log = next(folder.glob("results/artifacts/*/worker.log"), None)
        assert log is None or "Traceback" not in log.read_text(encoding="utf-8")
        went_on += any(folder.glob(f"results/artifacts/*/{LAST}"))
    finish(folder)
    assert same(whole, folder)
    return went_on


@posix
def test_a_run_that_is_killed_three_times_ends_with_the_bits_of_one_that_is_not(tmp_path: Path) -> None:
    assert kill_and_go_on(tmp_path / "whole", tmp_path / "killed", 3, seed=0) > 0


@posix
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_runs_killed_at_twenty_random_moments_end_with_the_bits_of_one_that_is_not(tmp_path: Path) -> None:
    went_on = sum(kill_and_go_on(tmp_path / "whole", tmp_path / f"killed{i}", 4, seed=i) for i in range(5))
    assert went_on > 10


@posix
def test_an_interrupted_run_goes_on_when_the_command_is_given_again_and_anew_when_forced(tmp_path: Path) -> None:
    finish(tmp_path / "whole")
    folder = tmp_path / "stopped"
    process = go(folder)
    patience = time.monotonic() + 120
    while not any(p.stat().st_size for p in folder.glob("results/artifacts/*/metrics.csv")):
        assert time.monotonic() < patience
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    errors = finish(folder)
    assert "go on  burgers" in errors
    assert same(tmp_path / "whole", folder)
    assert "start  burgers" in finish(folder, "--force")
    assert same(tmp_path / "whole", folder)


def test_checkpoints_are_written_as_often_as_asked(cli, tmp_path: Path) -> None:
    command = ("run", "-p", "burgers", "-s", "slow", "--plugins-dir", str(PLUGINS), "--max-iter", "9")
    done = cli(*command, "--checkpoint-every", "1000")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "results" / "artifacts").iterdir()
    assert read_tensors(folder / LAST, "checkpoint")[0]["iteration"] == 9  # the end is always kept


def test_a_checkpoint_of_another_version_is_refused(cli, rows, tmp_path: Path) -> None:
    (row,) = rows("-p", "burgers", "-s", "adam", "--max-iter", "3")
    path = tmp_path / "results" / "artifacts" / row["run_id"] / LAST
    header, tensors = read_tensors(path, "checkpoint")
    write_tensors(tmp_path / "old.ckpt", "checkpoint", header | {"version": "0.0.1"}, tensors)
    resume = ("run", "-p", "burgers", "-s", "adam", "--max-iter", "5", "--resume", "old.ckpt")
    assert 'is a checkpoint with version "0.0.1"' in one_line_error(cli(*resume))


def test_a_wrong_frequency_is_one_line(cli) -> None:
    wrong = ("run", "-p", "burgers", "-s", "adam", "--checkpoint-every", "often")
    assert "--checkpoint-every 'often'" in one_line_error(cli(*wrong))
