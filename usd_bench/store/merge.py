"""Merging stores from several machines: a union by run_id, in which no run is there twice."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from usd_bench.errors import StoreError
from usd_bench.files import check_writable, write_atomically
from usd_bench.store.reader import UNFINISHED, Row, read


@dataclass
class Merged:
    """What a merge did, by run_id."""

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    """Unfinished there, finished here."""
    kept: list[str] = field(default_factory=list)
    """In the target already."""
    skipped: list[str] = field(default_factory=list)
    """Messages about files that cannot be read."""


def merge(sources: Sequence[Path], target: Path, artifacts: bool = True) -> Merged:
    """Copy into ``target`` what it lacks, the sources in their order. A finished run is never replaced: where two
    machines ran the same one, the first counts. Raises ``StoreError`` for a source without runs.
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
                result.kept.append(run_id)
                continue
            _copy(source, target, row, artifacts)
            there[run_id] = row
            (result.added if known is None else result.replaced).append(run_id)
    return result


def _copy(source: Path, target: Path, row: Row, artifacts: bool) -> None:
    """One run with all that belongs to it; its row last, which commits it."""
    run_id = row["run_id"]
    folder = source / "artifacts" / run_id
    if artifacts and folder.is_dir():
        shutil.copytree(folder, target / "artifacts" / run_id, dirs_exist_ok=True)
    for part in (f"env/{row['env_id']}", f"trace/{run_id}", f"runs/{run_id}"):
        path = source / f"{part}.parquet"
        if path.is_file():
            write_atomically(target / f"{part}.parquet", path.read_bytes())
