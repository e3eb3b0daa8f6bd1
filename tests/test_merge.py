"""Merging stores: a union by run_id, whatever the order, and nothing twice."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usd_bench.errors import StoreError
from usd_bench.store.merge import merge
from usd_bench.store.reader import read, statuses
from usd_bench.store.writer import write_run


def stored(out: Path, run_id: str, status: str = "budget", lam: float = 0.5, machine: str = "a") -> None:
    row = {"run_id": run_id, "status": status, "reason": "r", "lam": lam, "started_at": datetime.now(UTC)}
    write_run(out, row, [{"iteration": 0, "lam": lam}], {"machine": machine})
    folder = out / "artifacts" / run_id
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(machine, encoding="utf-8")


def test_runs_traces_environments_and_artifacts_arrive_once(cli, tmp_path: Path) -> None:
    stored(tmp_path / "one", "x", lam=1.0, machine="one")
    stored(tmp_path / "two", "x", lam=2.0, machine="two")
    stored(tmp_path / "two", "y", machine="two")
    done = cli("merge", "one", "two", "--out", "all")
    assert done.returncode == 0, done.stderr
    assert "2 runs added" in done.stdout
    assert "1 were there" in done.stdout
    runs = {row["run_id"]: row["lam"] for row in read(tmp_path / "all", "runs")[0]}
    assert runs == {"x": 1.0, "y": 0.5}
    assert len(read(tmp_path / "all", "trace")[0]) == 2
    assert len(read(tmp_path / "all", "env")[0]) == 2
    assert (tmp_path / "all" / "artifacts" / "x" / "metrics.csv").read_text() == "one"
    again = cli("merge", "one", "two", "--out", "all")
    assert "0 runs added" in again.stdout


def test_a_killed_run_gives_way_to_a_finished_one_and_never_the_other_way(tmp_path: Path) -> None:
    stored(tmp_path / "one", "x", "killed")
    stored(tmp_path / "two", "x", "converged")
    assert merge([tmp_path / "one", tmp_path / "two"], tmp_path / "all").replaced == ["x"]
    assert statuses(tmp_path / "all")[0] == {"x": "converged"}
    assert merge([tmp_path / "one"], tmp_path / "all").kept == ["x"]
    assert statuses(tmp_path / "all")[0] == {"x": "converged"}


def test_without_artifacts_only_rows_are_copied(cli, tmp_path: Path) -> None:
    stored(tmp_path / "one", "x")
    cli("merge", "one", "--out", "all", "--no-artifacts")
    assert not (tmp_path / "all" / "artifacts" / "x").exists()
    assert statuses(tmp_path / "all")[0] == {"x": "budget"}


def test_what_is_no_store_or_the_target_itself_is_refused(cli, tmp_path: Path) -> None:
    stored(tmp_path / "one", "x")
    with pytest.raises(StoreError, match="no store"):
        merge([tmp_path / "nothing"], tmp_path / "all")
    assert not (tmp_path / "all").exists()
    assert "target itself" in cli("merge", "one", "--out", "one").stderr


def test_a_damaged_file_is_named_and_the_rest_arrives(cli, tmp_path: Path) -> None:
    stored(tmp_path / "one", "x")
    (tmp_path / "one" / "runs" / "y.parquet").write_bytes(b"no")
    done = cli("merge", "one", "--out", "all")
    assert "y.parquet" in done.stderr
    assert statuses(tmp_path / "all")[0] == {"x": "budget"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(parts=st.lists(st.sets(st.sampled_from("abcde")), min_size=1, max_size=3))
def test_the_merged_runs_are_the_union(tmp_path_factory, parts: list[set[str]]) -> None:
    folder = tmp_path_factory.mktemp("stores")
    for i, ids in enumerate(parts):
        (folder / str(i) / "runs").mkdir(parents=True)
        for run_id in ids:
            stored(folder / str(i), run_id)
    merge([folder / str(i) for i in range(len(parts))], folder / "all")
    assert set(statuses(folder / "all")[0]) == set().union(*parts)
