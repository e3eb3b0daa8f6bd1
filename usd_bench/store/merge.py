"""Merging stores from several machines: a union by run_id, in which no run is there twice."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from usd_bench.errors import StoreError
from usd_bench.files import check_writable, write_atomically
from usd_bench.store.reader import UNFINISHED, Row, files, packed_name, read, read_table, trace_table
from usd_bench.store.writer import write_rows, write_table


@dataclass
class Merged:
    """What a merge did, by run_id."""

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    """Unfinished there, finished here."""
    kept: list[str] = field(default_factory=list)
    """In the target already."""
    skipped: list[str] = field(default_factory=list)
    """Messages about files that cannot be read, or are missing."""


def merge(sources: Sequence[Path], target: Path, artifacts: bool = True) -> Merged:
    """Copy into ``target`` what it lacks, the sources in their order. A finished run is never replaced: where two
    machines ran the same one, the first counts, and gets from copies of it the artifacts that it lacks.

    Raises ``StoreError`` for a source without runs.
    """
    for source in sources:
        if not (source / "runs").is_dir():
            raise StoreError(f"{source} is no store: it has no runs/")
        if source.resolve() == target.resolve():
            raise StoreError(f"{source} is the target itself")
    check_writable(target)
    result = Merged()
    rows, _ = read(target, "runs")
    there: dict[str, Row] = {row["run_id"]: row for row in rows}
    for source in sources:
        rows, skipped = read(source, "runs")
        result.skipped += skipped
        for row in rows:
            run_id = row["run_id"]
            known = there.get(run_id)
            if known is not None and (known["status"] not in UNFINISHED or row["status"] in UNFINISHED):
                if artifacts and known["started_at"] == row["started_at"]:  # the same run, and no repetition of it
                    _complete(source / "artifacts" / run_id, target / "artifacts" / run_id)
                result.kept.append(run_id)
                continue
            result.skipped += _copy(source, target, row, artifacts)
            there[run_id] = row
            (result.added if known is None else result.replaced).append(run_id)
    return result


def _copy(source: Path, target: Path, row: Row, artifacts: bool) -> list[str]:
    """One run with all that belongs to it; its row last, which commits it. Returns messages about what is not there."""
    run_id = row["run_id"]
    name, lacking = f"{run_id}.parquet", []
    folder = source / "artifacts" / run_id
    if artifacts and folder.is_dir():
        shutil.copytree(folder, target / "artifacts" / run_id, dirs_exist_ok=True)
    env = source / "env" / f"{row['env_id']}.parquet"
    if env.is_file():
        write_atomically(target / "env" / env.name, env.read_bytes())
    if (source / "trace" / name).is_file():
        write_atomically(target / "trace" / name, (source / "trace" / name).read_bytes())
    else:
        try:
            write_table(target / "trace" / name, trace_table(source, run_id))
        except StoreError as error:
            lacking.append(str(error))
    if (source / "runs" / name).is_file():
        write_atomically(target / "runs" / name, (source / "runs" / name).read_bytes())
    else:
        write_rows(target / "runs" / name, "runs", [row])
    return lacking


def _complete(folder: Path, there: Path) -> None:
    """Copy the files of a folder that are not there."""
    for path in folder.rglob("*"):
        if path.is_file() and not (there / path.relative_to(folder)).exists():
            write_atomically(there / path.relative_to(folder), path.read_bytes())


def pack(out: Path) -> int:
    """Put the rows of every run into one file, and their traces into another, in the place of two for each run; return
    how many runs.

    A file for each run costs some thirty kilobytes, most of it the description of columns. What is new lies beside
    until it is whole, and readers count no run twice: a kill at any moment loses nothing.
    """
    runs, skipped = read_table(out, "runs")
    if skipped:
        raise StoreError(f"{skipped[0]}; repair or remove it before packing")
    ids = runs["run_id"].to_pylist()
    name, old = packed_name(ids), [path for kind in ("runs", "trace") for path in files(out, kind)]
    trace, _ = read_table(out, "trace")
    write_table(
        out / "trace" / name, trace.filter(pc.is_in(trace["run_id"], pa.array(ids, pa.string()))), compression="zstd"
    )
    write_table(out / "runs" / name, runs, compression="zstd")
    for path in old:
        if path.name != name:
            path.unlink()
    return len(ids)
