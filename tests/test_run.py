"""Runs in real processes: what is stored, what is skipped, and what survives every kind of death."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import OF_THE_HOUR, PLUGINS, one_line_error

TINY = ("--solver", "gauss_newton[hidden=6x5,points=60]", "--max-iter", "6", "--eval-every", "2")
ODD = ("--problem", "burgers", "--plugins-dir", str(PLUGINS), "--max-iter", "6")


def no_times(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=list(OF_THE_HOUR), errors="ignore")


# -- what is stored ------------------------------------------------------------------------------------------------


def test_every_pairing_and_seed_is_a_row_and_the_second_time_nothing_runs(cli, tmp_path: Path) -> None:
    solvers = "gauss_newton[hidden=6x5,points=60],adam[hidden=6x5,points=60]"
    command = ("run", "-p", "burgers[order=[0,1]]", "-s", solvers, "--seeds", "2", "--max-iter", "4", "--jobs", "2")
    first = cli(*command)
    assert first.returncode == 0, first.stderr
    frame = pd.read_parquet(tmp_path / "results" / "runs")
    assert len(frame) == 8
    assert set(zip(frame["order"], frame["solver"], frame["seed"], strict=True)) == {
        (o, s, k) for o in (0, 1) for s in ("adam", "gauss_newton") for k in (0, 1)
    }
    assert set(frame["status"]) == {"budget"}
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "results").rglob("*") if p.is_file()}
    second = cli(*command)
    assert second.returncode == 0
    assert "8 of 8 runs are stored" in second.stderr
    assert "nothing to run" in second.stderr
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "results").rglob("*") if p.is_file()} == before


def test_the_row_the_trace_and_the_artifacts_agree(rows, tmp_path: Path) -> None:
    (row,) = rows("-p", "burgers", *TINY)
    trace = pd.read_parquet(tmp_path / "results" / "trace")
    assert trace["iteration"].tolist() == [0, 1, 2, 4, 6]
    best = trace.loc[trace["res_max"].idxmin()]
    assert row["iteration_best"] == best["iteration"]
    for column in ("lam", "res_max", "res_l2", "cond_max", "err_max"):
        assert row[column] == best[column]
    assert row["iterations"] == 6
    assert (row["n_residual"], row["n_jacobian"], row["n_linear_solve"]) == (12, 6, 12)
    assert row["lam_ref"] == 0.5
    assert row["dtype"] == "float64"
    assert row["threads"] == 1
    assert row["peak_rss_mib"] > 50
    folder = tmp_path / "results" / "artifacts" / row["run_id"]
    assert {"best.ckpt", "last.ckpt", "profile.safetensors", "metrics.csv"} <= {p.name for p in folder.iterdir()}
    with (folder / "metrics.csv").open() as file:
        logged = list(csv.DictReader(file))
    assert [float(line["res_max"]) for line in logged] == trace["res_max"].tolist()


def test_the_same_seed_gives_the_same_bits_and_another_does_not(cli, tmp_path: Path) -> None:
    command = ("run", "-q", "-p", "burgers,toy_ipm", *TINY, "--seeds", "2")

    def stored() -> tuple[pd.DataFrame, pd.DataFrame]:
        runs = pd.read_parquet(tmp_path / "results" / "runs").sort_values("run_id", ignore_index=True)
        trace = pd.read_parquet(tmp_path / "results" / "trace").sort_values(["run_id", "iteration"], ignore_index=True)
        return no_times(runs), no_times(trace)

    cli(*command, "--threads", "1")
    runs, trace = stored()
    cli(*command, "--force", "--jobs", "2", "--threads", "1")
    again, trace_again = stored()
    pd.testing.assert_frame_equal(runs, again, check_exact=True)
    pd.testing.assert_frame_equal(trace, trace_again, check_exact=True)
    assert runs.groupby("problem")["lam"].nunique().tolist() == [2, 1]  # toy_ipm holds λ this early
    assert runs["res_max"].nunique() == 4


def test_a_target_ends_the_run_as_converged(rows) -> None:
    (row,) = rows(
        "-p", "burgers", "-s", "gauss_newton[hidden=8x8,points=100]", "--until", "res_max=1e-2", "--max-iter", "200"
    )
    assert row["status"] == "converged"
    assert row["res_max"] <= 1e-2
    assert row["iterations"] < 200


def test_an_evaluation_budget_of_zero_iterations_measures_the_start(rows) -> None:
    (row,) = rows("-p", "burgers", "-s", "adam", "--max-iter", "0")
    assert (row["status"], row["iterations"]) == ("budget", 0)
    assert math.isfinite(row["res_max"])


def test_a_time_budget_counts_solver_seconds(rows) -> None:
    (row,) = rows("-p", "burgers", "-s", "adam[points=50]", "--max-time", "0.5")
    assert row["status"] == "budget"
    assert "0.5 s of solver time" in row["reason"]
    assert row["time_solve_s"] >= 0.5
    assert row["iterations"] > 0


# -- solvers that misbehave --------------------------------------------------------------------------------------------


def test_a_false_residual_is_stored_as_measured(rows) -> None:
    (row,) = rows(*ODD, "-s", "liar")
    assert row["status"] == "budget"
    assert row["res_max"] > 1e-2
    assert row["err_max"] == pytest.approx(0.1)


def test_an_exact_profile_is_measured_as_exact(rows) -> None:
    (row,) = rows(*ODD, "-s", "exact")
    assert (row["status"], row["iterations"], row["err_max"]) == ("converged", 0, 0)
    assert row["res_max"] < 1e-12


def test_fields_that_vanish_never_converge(rows) -> None:
    (row,) = rows(*ODD, "-s", "zero")
    assert (row["status"], row["res_max"], row["cond_max"]) == ("budget", 0, 1)


def test_fields_that_vanish_but_at_one_point_never_converge(rows) -> None:
    (row,) = rows(*ODD, "-s", "peephole")
    assert row["status"] in ("budget", "error")


def test_a_vanishing_profile_is_never_the_best(rows) -> None:
    (row,) = rows(*ODD, "-s", "zerothenexact")
    assert (row["status"], row["iteration_best"]) == ("converged", 1)
    assert row["cond_max"] < 1e-12
    assert row["err_max"] == 0


def test_what_is_measured_is_what_is_stored_whatever_the_profile_says_next(rows) -> None:
    (row,) = rows(*ODD, "-s", "flipping")
    assert (row["status"], row["lam"]) == ("converged", 0.5)


def test_a_solver_cannot_change_the_problem_it_is_measured_by(rows) -> None:
    (row,) = rows(*ODD, "-s", "mutating")
    assert row["status"] == "budget"
    assert row["res_max"] > 1e-2


def test_a_solver_that_does_not_advance_is_an_error(rows) -> None:
    (row,) = rows(*ODD, "-s", "standing")
    assert row["status"] == "error"
    assert "expected 1" in row["reason"]


def test_work_outside_the_steps_is_on_the_clock(rows) -> None:
    (row,) = rows(*ODD, "-s", "working", "--max-time", "1")
    assert row["status"] == "budget"
    assert row["time_solve_s"] >= 1
    assert row["iterations"] < 6


def test_a_child_that_outlives_its_worker_holds_nothing_up(rows) -> None:
    (row,) = rows(*ODD, "-s", "forking", "--max-time", "1", "--grace", "1")
    assert (row["status"], row["iterations"]) == ("timeout", 2)


def test_strange_deaths_and_stray_bytes_stop_no_other_run(rows) -> None:
    dead, loud, fine = rows(*ODD, "-s", "signalling,scribbling,exact")
    assert dead["status"] == "error"
    assert "signal 3" in dead["reason"]
    assert loud["status"] in ("budget", "error")
    assert fine["status"] == "converged"


def test_a_run_that_is_killed_keeps_the_profile_its_row_describes(rows, tmp_path: Path) -> None:
    (row,) = rows(*ODD, "-s", "dying")
    folder = tmp_path / "results" / "artifacts" / row["run_id"]
    assert {"best.ckpt", "last.ckpt", "profile.safetensors"} <= {p.name for p in folder.iterdir()}


def test_selections_that_mean_the_same_run_are_one_run(rows) -> None:
    assert len(rows(*ODD, "-s", "off,off", "-p", "burgers[order=0]")) == 1


def test_values_without_derivatives_are_an_error_with_its_reason(rows) -> None:
    (row,) = rows(*ODD, "-s", "detached")
    assert row["status"] == "error"
    assert "differentiable twice" in row["reason"]


def test_nan_is_stored_as_diverged_with_the_last_good_numbers(rows, tmp_path: Path) -> None:
    (row,) = rows(*ODD, "-s", "notanumber")
    assert (row["status"], row["iterations"], row["iteration_best"], row["lam"]) == ("diverged", 2, 0, 0.45)
    trace = pd.read_parquet(tmp_path / "results" / "trace")
    assert trace["lam"].isna().tolist() == [False, False, True]


def test_a_hung_job_is_killed_and_stored_as_timeout_with_what_was_measured(rows) -> None:
    (row,) = rows(*ODD, "-s", "hanging", "--max-time", "1", "--grace", "1")
    assert (row["status"], row["iterations"], row["lam"]) == ("timeout", 2, 0.45)
    assert "no answer" in row["reason"]


def test_an_exception_is_stored_in_one_line_and_the_log_keeps_the_rest(cli, tmp_path: Path) -> None:
    done = cli("run", *ODD, "-s", "raising", "--json")
    assert done.returncode == 1
    (row,) = json.loads(done.stdout)
    assert (row["status"], row["reason"]) == ("error", "ValueError: first line second line")
    log = (tmp_path / "results" / "artifacts" / row["run_id"] / "worker.log").read_text()
    assert "Traceback" in log
    assert "stray output" in log


def test_a_worker_that_dies_or_leaves_becomes_a_row(rows) -> None:
    died, left = rows(*ODD, "-s", "dying,exiting")
    assert (died["status"], died["iterations"], died["lam"]) == ("killed", 2, 0.45)
    assert "SIGKILL" in died["reason"]
    assert left["status"] == "error"
    assert "code 7" in left["reason"]


def test_a_solver_is_never_given_the_held_out_points(rows) -> None:
    (row,) = rows(*ODD, "-s", "peeking")
    assert row["status"] == "error"
    assert "held-out points are the harness's own" in row["reason"]


def test_an_unsupported_pairing_is_a_row_with_its_reason(rows) -> None:
    (row,) = rows(*ODD, "-s", "picky")
    assert (row["status"], row["reason"], row["res_max"]) == ("unsupported", "it wants a different world", None)


def test_a_tracker_that_fails_is_logged_and_stops_nothing(rows, tmp_path: Path) -> None:
    (row,) = rows(*ODD, "-s", "off", "--track", "bad_tracker,unborn_tracker")
    assert (row["status"], row["iterations"]) == ("budget", 6)
    folder = tmp_path / "results" / "artifacts" / row["run_id"]
    log = (folder / "worker.log").read_text()
    assert "tracker BadTracker dropped: OSError: the tracking server is on fire" in log
    assert "tracker unborn_tracker dropped: OSError: no such server" in log
    assert len((folder / "metrics.csv").read_text().splitlines()) == 8  # a header and seven evaluations


def test_a_metric_of_a_plugin_is_measured_stored_and_a_target(rows) -> None:
    (row,) = rows(*ODD, "-s", "off", "--until", "lam_twice=0.95")
    assert row["status"] == "converged"
    assert json.loads(row["metrics"]) == {"lam_twice": 0.9}


def test_killed_runs_are_repeated_others_only_when_asked(cli) -> None:
    command = ("run", *ODD, "-s", "dying,raising,exact")
    assert cli(*command).returncode == 1
    assert "2 of 3 runs are stored" in cli(*command).stderr  # only the killed one again
    assert "1 of 3 runs are stored" in cli(*command, "--retry", "failed").stderr


# -- interruptions ----------------------------------------------------------------------------------------------------


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "usd_bench", "run", *arguments],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(condition, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def workers() -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"usd_bench.run.worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            pass
    return found


def logged(tmp_path: Path) -> bool:
    return any(p.stat().st_size for p in tmp_path.glob("results/artifacts/*/metrics.csv"))


posix = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs signals and /proc")


@posix
def test_an_interrupt_stores_what_there_is_and_starts_nothing_more(tmp_path: Path) -> None:
    process = start(tmp_path, "-p", "burgers", "-s", "slow", "--seeds", "3", "--plugins-dir", str(PLUGINS))
    wait_for(lambda: logged(tmp_path))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    frame = pd.read_parquet(tmp_path / "results" / "runs")
    assert frame["status"].tolist() == ["killed"]
    assert frame["reason"].tolist() == ["interrupted by the user"]
    assert frame["lam"].tolist() == [0.45]


@posix
def test_killing_the_parent_ends_its_workers_and_the_next_run_completes_the_rest(cli, tmp_path: Path) -> None:
    others = set(workers())
    arguments = ("-p", "burgers", "-s", "exact,slow", "--plugins-dir", str(PLUGINS), "--max-time", "2")
    process = start(tmp_path, *arguments)
    wait_for(lambda: len(list(tmp_path.glob("results/runs/*.parquet"))) == 1 and set(workers()) - others)
    wait_for(lambda: len(list(tmp_path.glob("results/artifacts/*/metrics.csv"))) == 2)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(_is_child_of_run(pid, tmp_path) for pid in set(workers()) - others))
    assert pd.read_parquet(tmp_path / "results" / "runs")["solver"].tolist() == ["exact"]
    done = cli("run", *arguments)
    assert "1 of 2 runs are stored" in done.stderr
    frame = pd.read_parquet(tmp_path / "results" / "runs")
    assert sorted(zip(frame["solver"], frame["status"], strict=True)) == [("exact", "converged"), ("slow", "budget")]


def _is_child_of_run(pid: int, folder: Path) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(folder)
    except OSError:
        return False


@posix
def test_killing_a_worker_from_outside_stores_it_as_killed_and_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path, "-p", "burgers", "-s", "slow,exact", "--plugins-dir", str(PLUGINS))
    wait_for(lambda: logged(tmp_path))
    (pid,) = [pid for pid in workers() if _is_child_of_run(pid, tmp_path)]
    os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)
    frame = pd.read_parquet(tmp_path / "results" / "runs")
    assert sorted(zip(frame["solver"], frame["status"], strict=True)) == [("exact", "converged"), ("slow", "killed")]


# -- checkpoints -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "solver", ["gauss_newton[hidden=6x5,points=60,resample=3]", "adam[hidden=6x5,points=60,resample=3]"]
)
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(rows, tmp_path: Path, solver: str) -> None:
    (half,) = rows("-p", "burgers", "-s", solver, "--max-iter", "7")
    (whole,) = rows("-p", "burgers", "-s", solver, "--max-iter", "16")
    checkpoint = tmp_path / "results" / "artifacts" / half["run_id"] / "last.ckpt"
    (resumed,) = rows("-p", "burgers", "-s", solver, "--max-iter", "16", "--resume", str(checkpoint))
    assert resumed["run_id"] != whole["run_id"]
    assert resumed["resume"]
    assert resumed["time_solve_s"] > half["time_solve_s"]
    assert (resumed["lam"], resumed["res_max"], resumed["n_residual"]) == (
        whole["lam"],
        whole["res_max"],
        whole["n_residual"],
    )


def test_a_checkpoint_of_another_pairing_is_refused(cli, rows, tmp_path: Path) -> None:
    (row,) = rows("-p", "burgers", *TINY)
    checkpoint = str(tmp_path / "results" / "artifacts" / row["run_id"] / "last.ckpt")
    for selectors in (("-p", "toy_ipm", *TINY), ("-p", "burgers[order=1]", *TINY), ("-p", "burgers", "-s", "adam")):
        assert "is a checkpoint with" in one_line_error(cli("run", *selectors, "--resume", checkpoint))
    assert "continues one run" in one_line_error(
        cli("run", "-p", "burgers", *TINY, "--seeds", "2", "--resume", checkpoint)
    )


# -- proofs that take minutes ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_toy_ipm_converges_from_five_seeds_with_the_published_exponent(cli, tmp_path: Path) -> None:
    done = cli("run", "--problem", "toy_ipm", "--solver", "gauss_newton", "--seeds", "5", "--json")
    found = json.loads(done.stdout)
    assert [row["status"] for row in found] == ["converged"] * 5
    for row in found:
        assert abs(row["lam"] - 1.0285722760) < 2e-5
        assert row["res_max"] <= 1e-5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_burgers_reaches_a_millionth_in_residual_and_error(cli) -> None:
    done = cli(
        "run",
        "-p",
        "burgers[order=[0,1]]",
        "-s",
        "gauss_newton,adam",
        "--seeds",
        "3",
        "--max-time",
        "20",
        "--json",
        timeout=550,
    )
    found = json.loads(done.stdout)
    assert len(found) == 12
    for row in found:
        if row["solver"] == "adam":
            assert row["status"] == "budget"
            assert row["err_max"] > 1e-4
        else:
            assert row["status"] == "converged"
            assert row["res_max"] <= 1e-6
            assert row["err_max"] <= 1e-6
