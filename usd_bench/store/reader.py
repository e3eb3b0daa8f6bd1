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


def read(out: Path, kind: str) -> tuple[pd.DataFrame, list[str]]:
    """All rows of ``runs``, ``trace`` or ``env`` under ``out``, and a warning for every file skipped."""
    tables, warnings = [], []
    folder = out / kind
    for path in sorted(folder.glob("*.parquet")) if folder.is_dir() else []:
        if path.name.startswith((".", "_")):
            continue
        try:
            tables.append(_read_file(path, kind))
        except StoreError as error:
            warnings.append(str(error))
    table = pa.concat_tables(tables) if tables else KINDS[kind].empty_table()
    return table.to_pandas(), warnings


def statuses(out: Path) -> tuple[dict[str, str], list[str]]:
    """Status by run_id, and warnings."""
    frame, warnings = read(out, "runs")
    return dict(zip(frame["run_id"], frame["status"], strict=True)), warnings


def find_run(out: Path, prefix: str) -> dict[str, Any]:
    """The one run whose id begins with ``prefix``. Raises ``StoreError`` when there is none, or several."""
    frame, warnings = read(out, "runs")
    matches = frame[frame["run_id"].str.startswith(prefix)] if len(frame) else frame
    if len(matches) == 1:
        return {str(key): value for key, value in matches.iloc[0].items()}
    if len(matches) > 1:
        raise StoreError(f"{prefix!r} fits {len(matches)} runs in {out}; give more letters of the run id")
    damaged = [w for w in warnings if prefix and f"/{prefix}" in w.replace("\\", "/")]
    if damaged:
        raise StoreError(damaged[0])
    raise StoreError(f"no run {prefix!r} in {out}; usd-bench list runs --out {out} shows what there is")


def _read_file(path: Path, kind: str) -> pa.Table:
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} cannot be read as Parquet and was skipped: {str(error).splitlines()[0]}") from None
    version = (table.schema.metadata or {}).get(b"schema_version", b"?").decode()
    if version != str(SCHEMA_VERSION):
        raise StoreError(f"{path} has schema version {version} and was skipped; this usd-bench reads {SCHEMA_VERSION}")
    if table.schema.names != KINDS[kind].names:
        raise StoreError(f"{path} does not have the columns of {kind} and was skipped")
    return table
