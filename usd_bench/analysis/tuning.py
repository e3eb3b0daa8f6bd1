"""Which settings of a solver did best on a proxy problem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """Settings, as text by name, and the smallest residual of each seed's run; infinite for one that measured none."""

    settings: dict[str, str]
    residuals: tuple[float, ...]

    @property
    def score(self) -> float:
        """The geometric mean over the seeds: smaller is better, and one failure is infinitely bad."""
        if not self.residuals or math.inf in self.residuals:
            return math.inf
        return math.exp(sum(math.log(max(r, 1e-300)) for r in self.residuals) / len(self.residuals))


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the smallest score, the first of equals; None where every trial failed."""
    best = min(trials, key=lambda trial: trial.score, default=None)
    return None if best is None or math.isinf(best.score) else best
