"""The CSV tracker: every evaluation as a line of ``metrics.csv``, flushed at once. Always on."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any

from usd_bench.tracking import Followed, Tracker


class CsvTracker(Tracker):
    """Writes ``metrics.csv`` beside the checkpoints."""

    def __init__(self, run: Followed) -> None:
        super().__init__(run)
        self._file = (run.folder / "metrics.csv").open("w", newline="", encoding="utf-8")
        self._writer: csv.DictWriter[str] | None = None
        for row in run.before:
            self.log(row)

    def log(self, row: Mapping[str, Any]) -> None:
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, fieldnames=list(row), extrasaction="ignore")
            self._writer.writeheader()
        self._writer.writerow(dict(row))
        self._file.flush()

    def close(self) -> None:
        self._file.close()
