"""Budgets and targets: when a run stops, and what it must reach to count as converged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from usd_bench.errors import SelectorError
from usd_bench.metrics import Metric


@dataclass(frozen=True)
class Budget:
    """``max_iter``: iterations, or None for no limit. ``max_work``: evaluations of the residual, of its Jacobian and of
    products with it, one each, or None; checked after every iteration. ``max_time``: seconds inside the solver; the
    harness's own measuring is not counted. ``until``: metric targets, all of which must hold for ``converged``.
    ``eval_every``: iterations between two measurements, at which targets are checked.
    """

    max_iter: int | None
    max_work: int | None
    max_time: float
    until: Mapping[str, float]
    eval_every: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"until": dict(self.until)}

    def measured_at(self, iteration: int) -> bool:
        """Whether the harness measures there: every ``eval_every``, and early at 1, 2, 4, 8, ..., for curves on a
        logarithmic axis need their beginning.
        """
        return iteration % self.eval_every == 0 or iteration & (iteration - 1) == 0

    def reached(self, metrics: Mapping[str, Metric], values: Mapping[str, float]) -> bool:
        """Whether every target holds. A residual target binds the side conditions too.

        A field that vanishes solves most profile equations; it does not satisfy their side conditions.
        """
        until = dict(self.until)
        if "res_max" in until:
            until.setdefault("cond_max", until["res_max"])
        return bool(until) and all(metrics[name].reached(values[name], target) for name, target in until.items())


def parse_until(text: str) -> dict[str, float]:
    """``"res_max=1e-6,lam_digits=8"`` as a mapping. Raises ``SelectorError``."""
    targets: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        try:
            if not equals:
                raise ValueError
            targets[name.strip()] = float(value)
            if not math.isfinite(targets[name.strip()]):
                raise ValueError
        except ValueError:
            raise SelectorError(
                f"cannot read {part.strip()!r} in --until; expected metric=number, as in res_max=1e-6"
            ) from None
    return targets
