"""Reading the store: whole frames, with every file that cannot be read named and left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from usd_bench.errors import StoreError
from usd_bench.store.schema import KINDS, SCHEMA_VERSION

UNFINISHED = ("killed",)
"""Statuses that the next ``run`` repeats without being asked."""

FAILED = ("error", "diverged", "timeout", "killed")
"""Statuses that ``--retry failed`` repeats."""

MIGRATED = ("1", "2")
"""Earlier schema versions that are read as they are: 1 lacks the column ``unstable_modes``, 2 ``in_bracket``."""

Row = dict[str, Any]


def read(out: Path, kind: str) -> tuple[list[Row], list[str]]:
    """All rows of ``runs``, ``trace`` or ``env`` under ``out``, and a warning for every file that was skipped."""
    table, warnings = _read_all(out, kind)
    return table.to_pylist(), warnings


def read_frame(out: Path, kind: str) -> tuple[pd.DataFrame, list[str]]:
    """The same as a frame: a trace of a million rows takes a tenth of the memory."""
    table, warnings = _read_all(out, kind)
    return table.to_pandas(), warnings


def _read_all(out: Path, kind: str) -> tuple[pa.Table, list[str]]:
    tables, warnings = [KINDS[kind].empty_table()], []
    folder = out / kind
    for path in sorted(folder.glob("*.parquet")) if folder.is_dir() else []:
        if path.name.startswith((".", "_")):
            continue
        try:
            tables.append(_read_file(path, kind).replace_schema_metadata())
        except StoreError as error:
            warnings.append(str(error))
    return pa.concat_tables([table.cast(pa.schema(KINDS[kind].remove_metadata())) for table in tables]), warnings


def read_trace(out: Path, run_id: str) -> pd.DataFrame:
    """The evaluations of one run. Raises ``StoreError`` when its file cannot be read."""
    frame: pd.DataFrame = _read_file(out / "trace" / f"{run_id}.parquet", "trace").to_pandas()
    return frame.sort_values("iteration")


def statuses(out: Path) -> tuple[dict[str, str], list[str]]:
    """Status by run_id, and warnings."""
    rows, warnings = read(out, "runs")
    return {row["run_id"]: row["status"] for row in rows}, warnings


def find_run(out: Path, prefix: str) -> Row:
    """The one run whose id begins with ``prefix``. Raises ``StoreError`` when there is none, or several."""
    rows, warnings = read(out, "runs")
    matches = [row for row in rows if row["run_id"].startswith(prefix)]
    if len(matches) == 1:
        return matches[0]
    if len(matches) > 1:
        raise StoreError(f"{prefix!r} fits {len(matches)} runs in {out}; give more letters of the run id")
    damaged = [w for w in warnings if prefix and f"/{prefix}" in w.replace("\\", "/")]
    if damaged:
        raise StoreError(damaged[0])
    raise StoreError(f"no run {prefix!r} in {out}; usd-bench list runs --out {out} shows what there is")


def _migrated(table: pa.Table, kind: str) -> pa.Table:
    """A table of an earlier version with today's columns: those that it lacks are null."""
    for field in KINDS[kind]:
        if field.name not in table.schema.names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(KINDS[kind].names) if set(KINDS[kind].names) == set(table.schema.names) else table


def _read_file(path: Path, kind: str) -> pa.Table:
    try:
        table = pq.ParquetFile(path).read()
        version = (table.schema.metadata or {}).get(b"schema_version", b"?").decode(errors="replace")
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} cannot be read as Parquet and was skipped: {str(error).splitlines()[0]}") from None
    if version in MIGRATED:
        table, version = _migrated(table, kind), str(SCHEMA_VERSION)
    if version != str(SCHEMA_VERSION):
        raise StoreError(f"{path} has schema version {version} and was skipped; this usd-bench reads {SCHEMA_VERSION}")
    if not table.schema.equals(KINDS[kind]):
        raise StoreError(f"{path} does not have the columns of {kind} and was skipped")
    identity = "env_id" if kind == "env" else "run_id"
    if table[identity].null_count:
        raise StoreError(f"{path} has a row without {identity} and was skipped")
    if kind == "runs" and (table.num_rows != 1 or table[identity][0].as_py() != path.stem):
        raise StoreError(f"{path} is not the file of one run under its run_id and was skipped; a copy?")
    return table
