"""``usd-bench sql``: questions to a store in SQL."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from usd_bench.cli.common import json_option, out_option, print_json, print_rows, warn
from usd_bench.errors import StoreError, UsdBenchError
from usd_bench.store.schema import KINDS


@click.command("sql")
@click.argument("query")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table.")
@json_option
@out_option
def command(query: str, as_csv: bool, as_json: bool, out: Path) -> None:
    """Answer QUERY over the tables runs, trace and env of a store, by DuckDB.

    docs/store.md explains every column; JSON columns are read as in budget->>'max_time'.

    \b
    usd-bench sql "select solver, count(*) n, median(res_max) m from runs group by solver order by m"
    usd-bench sql "select * from trace where run_id like '3c35%' order by iteration" --csv

    Needs the extra sql: pip install 'usd-bench[sql]'.
    """
    try:
        import duckdb
    except ImportError:
        raise UsdBenchError("DuckDB is not installed; pip install 'usd-bench[sql]'") from None
    from usd_bench.store.reader import read_table

    if not (out / "runs").is_dir():
        raise StoreError(f"{out} is no store: it has no runs/")
    connection = duckdb.connect(":memory:")
    for kind in KINDS:
        table, messages = read_table(out, kind)
        warn(messages)
        connection.register(kind, table)
    try:
        answer = connection.execute(query)
        names = [column[0] for column in answer.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
    except duckdb.Error as error:
        raise UsdBenchError(str(error).strip().splitlines()[0]) from None
    if as_json:
        print_json(rows)
    elif as_csv:
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(row.values() for row in rows)
    else:
        print_rows(rows, {name: partial(_shown, name) for name in names})


def _shown(name: str, row: dict[str, Any]) -> str:
    value = row[name]
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
