"""Reading the store: whole frames, with every file that cannot be read named and left alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from usd_bench.errors import StoreError
from usd_bench.reproducibility import digest
from usd_bench.store.schema import KINDS, SCHEMA_VERSION

UNFINISHED = ("killed",)
"""Statuses that the next ``run`` repeats without being asked."""

FAILED = ("error", "diverged", "timeout", "killed")
"""Statuses that ``--retry failed`` repeats."""

MIGRATED = ("1", "2", "3")
"""Earlier schema versions, each without columns of the next: ``unstable_modes``, ``in_bracket``, ``contended``."""

PACKED = "packed-"
"""How the names of files begin that hold many runs."""

BATCH = 256
"""Tables that are kept before they are made one."""

IDENTITY = {"runs": "run_id", "trace": "run_id", "env": "env_id"}
"""The column by which rows of each kind are known."""

Row = dict[str, Any]


def read(out: Path, kind: str) -> tuple[list[Row], list[str]]:
    """All rows of ``runs``, ``trace`` or ``env`` under ``out``, and a warning for every file that was skipped."""
    table, warnings = read_table(out, kind)
    return table.to_pylist(), warnings


def read_frame(out: Path, kind: str, columns: Sequence[str] | None = None) -> tuple[pd.DataFrame, list[str]]:
    """The same as a frame, of some columns only: a trace of a million rows takes a tenth of the memory."""
    table, warnings = read_table(out, kind, columns)
    return table.to_pandas(), warnings


def read_table(out: Path, kind: str, columns: Sequence[str] | None = None) -> tuple[pa.Table, list[str]]:
    """The same as an Arrow table. A run with a file of its own is not read from a packed one."""
    columns = columns or KINDS[kind].names
    tables, warnings, seen = [KINDS[kind].empty_table().replace_schema_metadata().select(columns)], [], set[str]()
    identity = IDENTITY[kind]
    for path in files(out, kind):
        try:
            table = _read_file(path, kind).replace_schema_metadata()
        except StoreError as error:
            warnings.append(str(error))
            continue
        table = table.cast(pa.schema(KINDS[kind].remove_metadata()))
        if packed(path):
            table = table.filter(pc.invert(pc.is_in(table[identity], pa.array(sorted(seen), pa.string()))))
            seen.update(table[identity].unique().to_pylist())
        else:
            seen.add(path.stem)
        tables.append(table.select(columns))
        if len(tables) > BATCH:  # a table of one row takes a thousand times the memory of a row
            tables = [pa.concat_tables(tables).combine_chunks()]
    return pa.concat_tables(tables), warnings


def files(out: Path, kind: str) -> list[Path]:
    """The files of a kind, those of single runs before packed ones; names that begin with a dot or _ are not meant."""
    folder = out / kind
    found = [path for path in folder.glob("*.parquet") if not path.name.startswith((".", "_"))]
    return sorted(found, key=lambda path: (packed(path), path.name))


def packed(path: Path) -> bool:
    """Whether a file holds many runs: see ``pack``."""
    return path.name.startswith(PACKED)


def packed_name(run_ids: Iterable[str]) -> str:
    """What the file that holds these runs is called."""
    return f"{PACKED}{digest(sorted(run_ids))[:16]}.parquet"


def read_trace(out: Path, run_id: str) -> pd.DataFrame:
    """The evaluations of one run. Raises ``StoreError`` when its file cannot be read."""
    frame: pd.DataFrame = trace_table(out, run_id).to_pandas()
    return frame.sort_values("iteration")


def trace_table(out: Path, run_id: str) -> pa.Table:
    """The same as an Arrow table."""
    own = out / "trace" / f"{run_id}.parquet"
    for path in [] if own.is_file() else filter(packed, files(out, "trace")):
        found = _read_file(path, "trace")
        found = found.filter(pc.equal(found["run_id"], run_id))
        if found.num_rows:
            return found
    if not own.is_file():
        raise StoreError(f"{out} has no trace of run {run_id}")
    return _read_file(own, "trace")


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
    identity = IDENTITY[kind]
    if table[identity].null_count:
        raise StoreError(f"{path} has a row without {identity} and was skipped")
    if kind == "runs" and packed(path):
        if packed_name(table[identity].to_pylist()) != path.name:
            raise StoreError(f"{path} does not hold the runs that its name was made from, and was skipped; a copy?")
    elif kind == "runs" and (table.num_rows != 1 or table[identity][0].as_py() != path.stem):
        raise StoreError(f"{path} is not the file of one run under its run_id and was skipped; a copy?")
    return table
