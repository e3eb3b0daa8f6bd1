"""The store: atomic files, honest nulls, and damage that is named and left alone."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
import torch

from usd_bench.errors import CheckpointError, StoreError
from usd_bench.files import check_writable, write_atomically
from usd_bench.run.checkpoint import check_checkpoint, identity
from usd_bench.store.reader import find_run, read, statuses
from usd_bench.store.schema import RUNS
from usd_bench.store.writer import amend_run, write_run
from usd_bench.tensorfile import read_tensors, write_tensors


def row(run_id: str, **values):
    return {"run_id": run_id, "status": "budget", "lam": 0.5, "started_at": datetime.now(UTC)} | values


def test_a_row_comes_back_as_written_with_every_column(tmp_path: Path) -> None:
    write_run(tmp_path, row("ab1", res_max=math.inf, err_max=math.nan), [{"iteration": 0, "lam": 0.1}], {"cpu": "x"})
    frame = pd.read_parquet(tmp_path / "runs")
    assert list(frame.columns) == RUNS.names
    assert len(frame) == 1
    assert frame.loc[0, "res_max"] == math.inf
    assert pd.isna(frame.loc[0, "err_max"])
    trace, _ = read(tmp_path, "trace")
    env, _ = read(tmp_path, "env")
    assert trace[0]["run_id"] == "ab1"
    assert frame.loc[0, "env_id"] == env[0]["env_id"]


def test_a_column_that_the_schema_lacks_is_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="lambda"):
        write_run(tmp_path, row("x", **{"lambda": 1}), [], {})


def test_writing_again_replaces_the_row(tmp_path: Path) -> None:
    write_run(tmp_path, row("ab1", lam=1.0), [], {})
    write_run(tmp_path, row("ab1", lam=2.0), [], {})
    assert pd.read_parquet(tmp_path / "runs")["lam"].tolist() == [2.0]


def test_damaged_files_are_named_skipped_and_never_deleted(tmp_path: Path) -> None:
    write_run(tmp_path, row("good"), [], {})
    bad = tmp_path / "runs" / "bad.parquet"
    bad.write_bytes(b"not parquet")
    found, warnings = statuses(tmp_path)
    assert found == {"good": "budget"}
    assert len(warnings) == 1
    assert str(bad) in warnings[0]
    with pytest.raises(StoreError, match="bad.parquet"):
        find_run(tmp_path, "bad")
    write_run(tmp_path, row("bad"), [], {})  # the same run again: the damaged file is set aside
    assert (tmp_path / "runs" / "_damaged-bad.parquet").read_bytes() == b"not parquet"
    assert len(pd.read_parquet(tmp_path / "runs")) == 2


def test_a_store_of_the_first_version_is_read_with_the_new_column_null(tmp_path: Path) -> None:
    write_run(tmp_path, row("a"), [], {})
    import pyarrow.parquet as pq

    for path in (tmp_path / "runs" / "a.parquet", *(tmp_path / "env").glob("*.parquet")):
        table = pq.ParquetFile(path).read()
        old = table.drop_columns(["unstable_modes"]) if "unstable_modes" in table.column_names else table
        pq.write_table(old.replace_schema_metadata({"schema_version": "1"}), path)
    (found,), warnings = read(tmp_path, "runs")
    assert (found["run_id"], found["unstable_modes"]) == ("a", None)
    assert not warnings
    assert len(read(tmp_path, "env")[0]) == 1
    amend_run(tmp_path, "a", unstable_modes=2)
    assert find_run(tmp_path, "a")["unstable_modes"] == 2


def test_another_schema_version_is_refused_with_a_clear_word(tmp_path: Path) -> None:
    write_run(tmp_path, row("a"), [], {})
    path = tmp_path / "runs" / "a.parquet"
    import pyarrow.parquet as pq

    table = pq.ParquetFile(path).read()
    pq.write_table(table.replace_schema_metadata({"schema_version": "99"}), path)
    _, (warning,) = read(tmp_path, "runs")
    assert "schema version 99" in warning


def test_files_that_are_not_rows_of_this_store_are_named_and_skipped(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_run(tmp_path, row("good"), [], {})
    good = tmp_path / "runs" / "good.parquet"
    table = pq.ParquetFile(good).read()
    (tmp_path / "runs" / "copy.parquet").write_bytes(good.read_bytes())
    pq.write_table(table.slice(0, 0), tmp_path / "runs" / "empty.parquet")
    nulls = pa.table([pa.nulls(1, f.type) for f in table.schema], schema=table.schema)
    pq.write_table(nulls, tmp_path / "runs" / "nulls.parquet")
    types = [pa.nulls(1, pa.binary()) for _ in table.schema.names]
    strange = pa.table(types, names=table.schema.names).replace_schema_metadata(table.schema.metadata)
    pq.write_table(strange, tmp_path / "runs" / "types.parquet")
    pq.write_table(table.replace_schema_metadata({"schema_version": b"\xff"}), tmp_path / "runs" / "meta.parquet")
    (tmp_path / "runs" / "zero.parquet").write_bytes(b"")
    (tmp_path / "runs" / "folder.parquet").mkdir()
    rows, warnings = read(tmp_path, "runs")
    assert [r["run_id"] for r in rows] == ["good"]
    for name in ("copy", "empty", "nulls", "types", "meta", "zero", "folder"):
        assert sum(f"{name}.parquet" in warning for warning in warnings) == 1


def test_a_run_is_found_by_its_first_letters(tmp_path: Path) -> None:
    for name in ("abc", "abd"):
        write_run(tmp_path, row(name), [], {})
    assert find_run(tmp_path, "abd")["run_id"] == "abd"
    with pytest.raises(StoreError, match="fits 2 runs"):
        find_run(tmp_path, "ab")
    with pytest.raises(StoreError, match="no run 'x'"):
        find_run(tmp_path, "x")


def test_an_empty_store_has_no_rows_and_no_warnings(tmp_path: Path) -> None:
    assert read(tmp_path / "nothing", "runs") == ([], [])


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "f"
    write_atomically(path, b"old")
    path_is_dir = tmp_path / "dir"
    (path_is_dir / "inner").mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot write"):
        write_atomically(path_is_dir, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StoreError, match="choose another --out"):
        check_writable(file / "results")


KILLED = """
import sys
from pathlib import Path
from datetime import UTC, datetime
from usd_bench.store.writer import amend_run, write_run
n = 0
while True:
    for i in range(5):
        n += 1
        row = {"run_id": f"r{i}", "status": "budget", "seed": n, "started_at": datetime.now(UTC)}
        write_run(Path(sys.argv[1]), row, [{"iteration": k} for k in range(50)], {"n": str(i)})
    print("round", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_writer_killed_at_any_moment_leaves_a_store_that_reads(tmp_path: Path) -> None:
    for attempt in range(5):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout.readline()
        time.sleep(0.013 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for kind in ("runs", "trace", "env"):
            found, warnings = read(tmp_path, kind)
            assert warnings == []
            assert found
        assert len(pd.read_parquet(tmp_path / "runs")) == 5


# -- checkpoints -------------------------------------------------------------------------------------------------------


def test_tensors_come_back_bit_for_bit_with_their_header(tmp_path: Path) -> None:
    tensors = {"a": torch.tensor([1e-310, -0.0, math.pi], dtype=torch.float64), "n": torch.tensor(3)}
    write_tensors(tmp_path / "x.ckpt", "checkpoint", {"problem": "p", "lam": 0.1}, tensors)
    header, back = read_tensors(tmp_path / "x.ckpt", "checkpoint")
    assert header["lam"] == 0.1
    assert all(torch.equal(back[k], tensors[k]) for k in tensors)


def test_a_checkpoint_that_is_missing_damaged_or_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    with pytest.raises(CheckpointError, match="does not exist"):
        read_tensors(path, "checkpoint")
    write_tensors(path, "profile", {}, {"a": torch.zeros(2)})
    with pytest.raises(CheckpointError, match="not a usd-bench checkpoint"):
        read_tensors(path, "checkpoint")
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_tensors(path, "profile")
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_tensors(path, "checkpoint")


def test_a_checkpoint_of_another_problem_or_config_is_refused(tmp_path: Path) -> None:
    path, made = tmp_path / "x.ckpt", identity("p", {"order": 0}, "s", {}, 0, "a run")
    write_tensors(path, "checkpoint", made, {"a": torch.zeros(1)})
    assert len(check_checkpoint(path, made | {"run_id": "another, with a budget of its own"})) == 64
    for key, value in {"problem": "q", "parameters": {"order": 1}, "config": {"b": 1}, "seed": 1}.items():
        with pytest.raises(CheckpointError, match=f"is a checkpoint with {key}"):
            check_checkpoint(path, made | {key: value})
