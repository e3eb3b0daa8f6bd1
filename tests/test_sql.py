"""SQL over a store, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import one_line_error
from tests.test_merge import stored


def test_tables_of_a_store_can_be_queried_and_joined(cli, tmp_path: Path) -> None:
    stored(tmp_path / "results", "x", lam=0.25)
    stored(tmp_path / "results", "y", lam=0.75)
    query = "select runs.run_id, avg(trace.lam) as mean, max(runs.res_max) m from runs join trace using (run_id) "
    done = cli("sql", query + "group by all order by 1", "--json")
    assert json.loads(done.stdout) == [
        {"run_id": "x", "mean": 0.25, "m": None},
        {"run_id": "y", "mean": 0.75, "m": None},
    ]
    assert cli("sql", "select count(*) n from env", "--csv").stdout == "n\n1\n"
    table = cli("sql", "select run_id, lam, res_max from runs order by lam desc").stdout.splitlines()
    assert [line.split() for line in table] == [["run_id", "lam", "res_max"], ["y", "0.75", "-"], ["x", "0.25", "-"]]


def test_bad_sql_and_a_missing_store_are_one_line(cli, tmp_path: Path) -> None:
    assert "no store" in one_line_error(cli("sql", "select 1"))
    stored(tmp_path / "results", "x")
    assert "syntax error" in one_line_error(cli("sql", "selec 1"))
    assert "nothing_like_it" in one_line_error(cli("sql", "select nothing_like_it from runs"))
