"""Validation: a store as it was written is clean, and each way to spoil it is a fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from usd_bench.store.reader import read
from usd_bench.store.validate import stores_in, validated
from usd_bench.store.writer import amend_run

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Callable[[Path], Path]:
    """Copies of one store that real runs wrote."""
    import shutil
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("written")
    command = ["run", "-p", "burgers", "-s", "gauss_newton[hidden=6x5,points=60],adam[hidden=6x5,points=60]", "-q"]
    limits = ["--max-iter", "12", "--seeds", "2", "--until", "res_max=0.5", "--threads", "1"]
    subprocess.run([sys.executable, "-m", "usd_bench", *command, *limits], cwd=folder, check=True)

    def copy(to: Path) -> Path:
        return Path(shutil.copytree(folder / "results", to / "results"))

    return copy


def run_of(out: Path, status: str) -> dict:
    return next(row for row in read(out, "runs")[0] if row["status"] == status)


def test_a_store_as_it_was_written_is_clean(cli, written, tmp_path: Path) -> None:
    out = written(tmp_path)
    report = validated(out)
    assert report.faults == []
    assert report.runs == 4
    assert set(report.statuses) >= {"converged"}
    done = cli("validate")
    assert done.returncode == 0, done.stdout
    assert "4 runs" in done.stdout
    assert json.loads(cli("validate", "--json").stdout)[0]["faults"] == []


@pytest.mark.parametrize(
    ("column", "change", "word"),
    [
        ("seed", lambda row: row["seed"] + 7, "run_id is not"),
        ("config", lambda row: row["config"].replace("6x5", "9x9"), "run_id is not"),
        ("problem", lambda row: "ccf", "run_id is not"),
        ("config", lambda row: "{", "JSON"),
        ("res_max", lambda row: row["res_max"] / 10, "its trace says"),
        ("lam", lambda row: row["lam"] + 1e-9, "its trace says"),
        ("res_max", lambda row: 3.0, "the target is 0.5"),
        ("res_l2", lambda row: 1e-9, "does not hold"),
        ("status", lambda row: "fine", "none of"),
        ("iterations", lambda row: -1, "iterations = -1"),
        ("iteration_best", lambda row: 11, "not in its trace"),
        ("env_id", lambda row: "0", "environment"),
        ("time_solve_s", lambda row: -1.0, "time_solve_s"),
    ],
)
def test_a_changed_row_is_a_fault(written, tmp_path: Path, column: str, change, word: str) -> None:
    out = written(tmp_path)
    row = run_of(out, "converged")
    amend_run(out, row["run_id"], **{column: change(row)})
    faults = validated(out).faults
    assert any(word in fault and row["run_id"][:8] in fault for fault in faults), faults


def test_files_that_are_gone_damaged_or_renamed_are_faults(cli, written, tmp_path: Path) -> None:
    out = written(tmp_path)
    rows = read(out, "runs")[0]
    (out / "trace" / f"{rows[0]['run_id']}.parquet").unlink()
    (out / "trace" / f"{rows[1]['run_id']}.parquet").write_bytes(b"no")
    path = out / "runs" / f"{rows[2]['run_id']}.parquet"
    path.rename(path.with_name("0" * 64 + ".parquet"))
    faults = "\n".join(validated(out).faults)
    assert "there is no trace" in faults
    assert "cannot be read as Parquet" in faults
    assert "not the file of one run" in faults
    for env in (out / "env").glob("*.parquet"):
        env.unlink()
    done = cli("validate", "results")
    assert done.returncode == 1
    assert "its environment is not in env/" in done.stdout


def test_what_readers_should_know_is_a_note(written, tmp_path: Path) -> None:
    out = written(tmp_path)
    row = next(row for row in read(out, "runs")[0] if row["solver"] == "adam" and row["seed"] == 1)
    (out / "runs" / f"{row['run_id']}.parquet").unlink()
    notes = "\n".join(validated(out).notes)
    assert "burgers[order=0]: seeds differ between solvers; not all of 0–1: adam" in notes
    assert f"traces without a run: {row['run_id'][:8]}" in notes


def test_where_there_is_no_store_it_says_so(cli, tmp_path: Path) -> None:
    done = cli("validate", str(tmp_path / "nothing"))
    assert done.returncode == 2
    assert "no store" in done.stderr


def test_the_published_stores_are_clean() -> None:
    stores = stores_in(ROOT / "results" / "published")
    assert stores
    for store in stores:
        assert validated(store).faults == []
