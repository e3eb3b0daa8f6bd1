"""The CSV tracker: every evaluation as a line of ``metrics.csv``, flushed at once. Always on."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from usd_bench.tracking import Tracker


class CsvTracker(Tracker):
    """Writes ``metrics.csv`` beside the checkpoints."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._file = (folder / "metrics.csv").open("w", newline="", encoding="utf-8")
        self._writer: csv.DictWriter[str] | None = None

    def log(self, row: Mapping[str, object]) -> None:
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, fieldnames=list(row))
            self._writer.writeheader()
        self._writer.writerow(dict(row))
        self._file.flush()

    def close(self) -> None:
        self._file.close()
