"""Running a stored row again: the same bits here, and what differs said where something does."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from tests.conftest import one_line_error

SOLVER = "gauss_newton[hidden=6x5,points=60]"


def test_a_run_comes_out_bit_for_bit_and_the_store_stays_as_it_is(cli, rows, tmp_path: Path) -> None:
    (row,) = rows("-p", "burgers[order=1]", "-s", SOLVER, "--max-iter", "9", "--eval-every", "3", "--seed", "4")
    before = sorted(path for path in (tmp_path / "results").rglob("*"))
    done = cli("reproduce", row["run_id"][:10])
    assert done.returncode == 0, done.stderr
    assert "every bit the same" in done.stdout
    assert sorted(path for path in (tmp_path / "results").rglob("*")) == before
    shorter = json.loads(cli("reproduce", row["run_id"], "--max-iter", "4", "--json").stdout)
    assert (shorter["same"], shorter["iterations"], shorter["code"]["changed"]) == (True, 4, False)


def test_a_trace_that_was_changed_is_found_out(cli, rows, tmp_path: Path) -> None:
    (row,) = rows("-p", "burgers", "-s", SOLVER, "--max-iter", "4")
    path = tmp_path / "results" / "trace" / f"{row['run_id']}.parquet"
    table = pq.ParquetFile(path).read()
    values = table["res_max"].to_pylist()
    values[-1] *= 1 + 1e-6
    pq.write_table(
        table.set_column(table.schema.get_field_index("res_max"), table.schema.field("res_max"), [values]), path
    )
    done = cli("reproduce", row["run_id"])
    assert done.returncode == 1
    assert "different" in done.stdout
    assert cli("reproduce", row["run_id"], "--tolerance", "1e-5").returncode == 0


def test_an_unknown_run_is_one_line(cli) -> None:
    assert "no run 'abc'" in one_line_error(cli("reproduce", "abc"))
