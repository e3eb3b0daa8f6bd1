"""Writing to the store: one file per run and kind; the row in ``runs/`` comes last and commits the run."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from usd_bench.files import write_atomically
from usd_bench.reproducibility import digest
from usd_bench.store.reader import find_run
from usd_bench.store.schema import KINDS

Row = dict[str, Any]


def write_run(out: Path, row: Row, trace: Sequence[Row], environment: Mapping[str, str]) -> None:
    """Store one run. Killed half-way it leaves the earlier state: readers start from ``runs/``."""
    env_id = digest(dict(environment))
    target = out / "env" / f"{env_id}.parquet"
    if not target.is_file():
        write_rows(target, "env", [{"env_id": env_id, "record": json.dumps(dict(environment), sort_keys=True)}])
    write_rows(out / "trace" / f"{row['run_id']}.parquet", "trace", [{"run_id": row["run_id"], **t} for t in trace])
    write_rows(out / "runs" / f"{row['run_id']}.parquet", "runs", [row | {"env_id": env_id}])


def amend_run(out: Path, run_id: str, **columns: Any) -> None:
    """Set columns of a stored run that are found out after it. Raises ``StoreError`` when there is no such run."""
    row = find_run(out, run_id)
    write_rows(out / "runs" / f"{run_id}.parquet", "runs", [row | columns])


def write_rows(path: Path, kind: str, rows: Sequence[Row]) -> None:
    """One file of the store. Raises ``KeyError`` for a column that its kind does not have."""
    schema = KINDS[kind]
    unknown = {key for row in rows for key in row} - set(schema.names)
    if unknown:
        raise KeyError(f"no such column in {kind}: {', '.join(sorted(unknown))}")
    write_table(path, pa.Table.from_pylist([{k: _plain(v) for k, v in row.items()} for row in rows], schema=schema))


def write_table(path: Path, table: pa.Table, compression: str = "snappy") -> None:
    """A table of the store's schema, at the schema's version."""
    schema = KINDS[path.parent.name]
    buffer = io.BytesIO()
    pq.write_table(table.cast(schema), buffer, compression=compression)
    _keep_damaged(path)
    write_atomically(path, buffer.getvalue())


def _plain(value: Any) -> Any:
    """NaN means "not known" here, which Parquet calls null; infinities are kept, they are measurements."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _keep_damaged(path: Path) -> None:
    """A file that cannot be read is somebody's data: set it aside under a name that readers skip."""
    if path.is_file():
        try:
            pq.read_metadata(path)
        except (pa.ArrowException, OSError):
            aside = path.with_name(f"_damaged-{path.name}")
            number = 1
            while aside.exists():
                number += 1
                aside = path.with_name(f"_damaged-{number}-{path.name}")
            os.replace(path, aside)
