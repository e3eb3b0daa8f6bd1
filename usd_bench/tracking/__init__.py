"""Trackers: what follows a run while it happens, fed with every evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from usd_bench.errors import PluginError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Followed:
    """The run that a tracker follows."""

    folder: Path
    """Its artifacts."""
    store: Path
    run_id: str
    label: str
    """How people read it: ``burgers[order=1] · adam · seed 0``."""
    facts: Mapping[str, Any]
    """Problem, parameters, solver, config, seed, and the version of usd-bench."""
    before: Sequence[Mapping[str, Any]] = ()
    """Rows of a run that goes on from a checkpoint, up to there; a tracker may have seen them, and later ones too."""


class Tracker(ABC):
    """Constructed once per run. One that raises is dropped with a warning in the run's log, and stops nothing."""

    draws: ClassVar[bool] = False
    """Whether it takes pictures of the fields."""

    def __init__(self, run: Followed) -> None:
        self.run = run

    @abstractmethod
    def log(self, row: Mapping[str, Any]) -> None:
        """One evaluation: the columns of the trace, the process's memory ``rss_mib``, and the solver's diagnostics."""

    def draw(self, iteration: int, figure: Figure) -> None:  # noqa: B027 (most do not)
        """The fields at an iteration, now and then. The figure is closed afterwards."""

    def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """The run has ended."""


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row, its iteration aside."""
    numbers = {k: v for k, v in row.items() if k != "iteration" and isinstance(v, int | float)}
    return {name: float(value) for name, value in numbers.items()}


def imported(module: str) -> Any:
    """A module of a package that comes with the extra ``tracking``. Raises ``PluginError`` where it cannot be had."""
    try:
        return import_module(module)
    except ImportError as error:
        raise PluginError(f"{error}; it comes with pip install 'usd-bench[tracking]'") from error
