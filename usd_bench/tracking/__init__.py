"""Trackers: what follows a run while it happens, fed with every evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path


class Tracker(ABC):
    """Constructed once per run with its artifact folder. One that raises is dropped with a warning."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def log(self, row: Mapping[str, object]) -> None:
        """One evaluation: the columns of the trace."""

    def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """The run has ended."""
