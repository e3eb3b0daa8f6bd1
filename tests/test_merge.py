"""Merging stores: a union by run_id, whatever the order, and nothing twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usd_bench.errors import StoreError
from usd_bench.store.merge import merge, pack
from usd_bench.store.reader import read, read_trace, statuses
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


def test_artifacts_that_were_left_out_come_later_and_those_of_a_repetition_do_not(tmp_path: Path) -> None:
    stored(tmp_path / "one", "x", machine="one")
    merge([tmp_path / "one"], tmp_path / "all", artifacts=False)
    stored(tmp_path / "two", "x", machine="two")
    metrics = tmp_path / "all" / "artifacts" / "x" / "metrics.csv"
    merge([tmp_path / "two"], tmp_path / "all")
    assert not metrics.exists()
    merge([tmp_path / "one", tmp_path / "two"], tmp_path / "all")
    assert metrics.read_text() == "one"


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


def test_a_run_whose_trace_is_lost_arrives_with_a_word(cli, tmp_path: Path) -> None:
    stored(tmp_path / "one", "x")
    stored(tmp_path / "one", "y")
    (tmp_path / "one" / "trace" / "x.parquet").unlink()
    done = cli("merge", "one", "--out", "all")
    assert (done.returncode, done.stderr) == (0, "Warning: one has no trace of run x\n")
    assert statuses(tmp_path / "all")[0] == {"x": "budget", "y": "budget"}


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


def test_a_packed_store_reads_as_it_did_and_takes_a_fraction_of_the_space(cli, rows, tmp_path: Path) -> None:
    rows("-p", "burgers", "-s", "adam,gauss_newton", "--seeds", "3", "--max-iter", "3")
    out = tmp_path / "results"
    before = {kind: by_identity(read(out, kind)[0]) for kind in ("runs", "trace", "env")}
    size = sum(path.stat().st_size for path in out.glob("*/*.parquet"))
    done = cli("merge", "results", "--out", "packed", "--no-artifacts", "--pack")
    assert "6 runs packed" in done.stdout
    packed = tmp_path / "packed"
    assert [len(list((packed / kind).glob("*.parquet"))) for kind in ("runs", "trace")] == [1, 1]
    assert {kind: by_identity(read(packed, kind)[0]) for kind in before} == before
    assert sum(path.stat().st_size for path in packed.glob("*/*.parquet")) < 0.5 * size
    run = before["runs"][0]["run_id"]
    assert read_trace(packed, run).equals(read_trace(out, run))
    for command in (("validate", "packed"), ("show", run, "--out", "packed"), ("reproduce", run, "--out", "packed")):
        assert cli(*command).returncode == 0, command
    assert json.loads(cli("sql", "select count(*) n from runs", "--out", "packed", "--json").stdout) == [{"n": 6}]


def test_a_store_without_runs_is_packed_too(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert pack(tmp_path) == 0
    assert read(tmp_path, "runs") == ([], [])


def test_a_packed_store_grows_merges_and_is_packed_again(cli, rows, tmp_path: Path) -> None:
    rows("-p", "burgers", "-s", "adam", "--seeds", "2", "--max-iter", "2")
    cli("merge", "results", "--out", "packed", "--pack")
    rows("-p", "burgers", "-s", "adam", "--seeds", "3", "--max-iter", "2", "--out", "packed")
    assert len(read(tmp_path / "packed", "runs")[0]) == 3
    assert len(list((tmp_path / "packed" / "runs").glob("*.parquet"))) == 2  # the packed one, and the new one
    rows("-p", "burgers", "-s", "adam", "--max-iter", "2", "--out", "packed", "--force")
    found = read(tmp_path / "packed", "runs")[0]
    assert len(found) == len({row["run_id"] for row in found}) == 3
    traces = read(tmp_path / "packed", "trace")[0]
    assert len(traces) == len({(row["run_id"], row["iteration"]) for row in traces})
    cli("merge", "packed", "--out", "unpacked")
    assert len(list((tmp_path / "unpacked" / "runs").glob("*.parquet"))) == 3
    assert by_identity(read(tmp_path / "unpacked", "trace")[0]) == by_identity(traces)
    assert pack(tmp_path / "packed") == 3
    assert len(list((tmp_path / "packed" / "runs").glob("*.parquet"))) == 1
    assert by_identity(read(tmp_path / "packed", "runs")[0]) == by_identity(found)
    assert pack(tmp_path / "packed") == 3  # packed already: the same again


def test_a_pack_that_was_killed_half_way_counts_no_run_twice(rows, tmp_path: Path) -> None:
    rows("-p", "burgers", "-s", "adam", "--seeds", "3", "--max-iter", "2")
    out = tmp_path / "results"
    singles = {path: path.read_bytes() for kind in ("runs", "trace") for path in (out / kind).glob("*.parquet")}
    before = {kind: by_identity(read(out, kind)[0]) for kind in ("runs", "trace")}
    pack(out)
    for path, content in list(singles.items())[::2]:
        path.write_bytes(content)
    assert {kind: by_identity(read(out, kind)[0]) for kind in before} == before


def test_a_packed_file_under_another_name_is_no_file_of_the_store(rows, tmp_path: Path) -> None:
    rows("-p", "burgers", "-s", "adam", "--max-iter", "1")
    out = tmp_path / "results"
    pack(out)
    (path,) = (out / "runs").glob("*.parquet")
    path.rename(path.with_name("packed-0123456789abcdef.parquet"))
    found, warnings = read(out, "runs")
    assert found == []
    assert "a copy?" in warnings[0]


def by_identity(rows: list[dict]) -> list[dict]:
    return sorted(rows, key=lambda row: (row.get("run_id", ""), row.get("iteration", 0), row.get("env_id", "")))
