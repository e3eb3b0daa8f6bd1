"""Newton's method on a collocation system, damped by halving until the residual falls.

Where no share down to the shortest lowers the residual, the largest one with a finite residual is taken: far out, a
residual over its envelope rises by orders of magnitude before the first quadratic step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from usd_bench.collocation.linear import solve
from usd_bench.collocation.system import Collocation, Unknowns

SHORTEST = 2.0**-3
"""Shortest share of a step that is tried."""

ROUNDING = 1e-11
"""Root mean square residual below which rounding decides whether it falls."""

Row = tuple[Tensor, float]
"""One more linear condition on the scalars: its covector, and the value of covector · scalars."""


@dataclass(frozen=True)
class Step:
    """One damped Newton step: where it leads, the largest change of a scalar in the full step, and its share."""

    unknowns: Unknowns
    change: float
    share: float


def newton_step(system: Collocation, at: Unknowns, conditions: list[Row]) -> Step:
    """One step from ``at``. ``conditions``: one for each varied parameter, beyond λ's own."""
    linear = system.linearise(at)
    none = system.zero(at.scalars).fields
    errors = [value - float(covector @ at.scalars) for covector, value in conditions]
    rows = [(linear.closure_row, -linear.closure)]
    rows += [(Unknowns(none, c), c.new_tensor(error)) for (c, _), error in zip(conditions, errors, strict=True)]
    full = solve(system, linear, -linear.residual, -linear.ends, rows)
    before = _size(linear.residual, float(linear.closure), *errors)
    share, fallback = 1.0, 0.0
    while True:
        candidate = at + full * share
        left = ((1 - share) * e for e in errors)  # the conditions are linear
        after = _size(system.residual(candidate), system.admissibility(candidate), *left)
        if after <= (1 - 0.1 * share) * before or after < ROUNDING:
            break
        fallback = fallback or (share if math.isfinite(after) else 0.0)
        if share <= SHORTEST:
            share = fallback or share
            candidate = at + full * share
            break
        share /= 2
    return Step(candidate, float(full.scalars.abs().max()), share)


def _size(residual: Tensor, *errors: float) -> float:
    """Root mean square residual plus the other errors; infinite where it is not a number."""
    value = float(residual.square().mean().sqrt()) + sum(map(abs, errors))
    return value if math.isfinite(value) else math.inf
