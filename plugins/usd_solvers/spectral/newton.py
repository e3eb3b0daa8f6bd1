"""Newton's method on a collocation system, damped by halving until the residual falls.

Where no share down to the shortest lowers the residual, the largest one with a finite residual is taken: far out, a
residual over its envelope rises by orders of magnitude before the first quadratic step.

After a full step the factored matrix serves again while the residual halves: a substitution costs a few hundredths of
a factorisation. Source: Kelley, Solving Nonlinear Equations with Newton's Method (2003), section 2.4 (Shamanskii).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from usd_bench.collocation.linear import factor, solve
from usd_bench.collocation.system import Collocation, Unknowns

SHORTEST = 2.0**-3
"""Shortest share of a step that is tried."""

ROUNDING = 1e-11
"""Root mean square residual below which rounding decides whether it falls."""

SETTLED = 1e-7
"""Change of the scalars below which λ has settled."""

SUBSTITUTIONS = 5
"""Most further steps with one matrix."""

Row = tuple[Tensor, float]
"""One more linear condition on the scalars: its covector, and the value of covector · scalars."""


@dataclass(frozen=True)
class Step:
    """One damped Newton step: where it leads, and whether λ has settled there."""

    unknowns: Unknowns
    settled: bool


def newton_step(system: Collocation, at: Unknowns, conditions: list[Row]) -> Step:
    """One step from ``at``, and further ones with its matrix.

    ``conditions``: one for each varied parameter, beyond λ's own.
    """
    linear = system.linearise(at)
    matrix = factor(system, linear)
    none = system.zero(at.scalars).fields
    covectors = [linear.closure_row, *(Unknowns(none, covector) for covector, _ in conditions)]

    def correction(unknowns: Unknowns, residual: Tensor, ends: Tensor) -> Unknowns:
        targets = at.scalars.new_tensor(errors(unknowns)).neg().unbind()
        return solve(system, linear, -residual, -ends, list(zip(covectors, targets, strict=True)), matrix)

    def errors(unknowns: Unknowns) -> list[float]:
        others = (float(covector @ unknowns.scalars) - value for covector, value in conditions)
        return [system.admissibility(unknowns), *others]

    def size(unknowns: Unknowns) -> float:
        return _size(system.residual(unknowns), errors(unknowns))

    full = correction(at, linear.residual, linear.ends)
    candidate, share = _damped(at, full, size)
    if share < 1:
        return Step(candidate, False)
    left, met = size(candidate), torch.zeros_like(linear.ends)  # the conditions at the ends are linear
    for _ in range(SUBSTITUTIONS):
        closer = candidate + correction(candidate, system.residual(candidate), met)
        before, left = left, size(closer)
        if left < before:
            candidate = closer
        if not left < before / 2:
            break
    return Step(candidate, float(full.scalars.abs().max()) < SETTLED)


def _damped(at: Unknowns, full: Unknowns, size: Callable[[Unknowns], float]) -> tuple[Unknowns, float]:
    """The longest share of the step that lowers the residual, and where it leads."""
    before, share, fallback = size(at), 1.0, 0.0
    while True:
        candidate = at + full * share
        after = size(candidate)
        if after <= (1 - 0.1 * share) * before or after < ROUNDING:
            return candidate, share
        fallback = fallback or (share if math.isfinite(after) else 0.0)
        if share <= SHORTEST:
            share = fallback or share
            return at + full * share, share
        share /= 2


def _size(residual: Tensor, errors: list[float]) -> float:
    """Root mean square residual plus the other errors; infinite where it is not a number."""
    value = float(residual.square().mean().sqrt()) + sum(map(abs, errors))
    return value if math.isfinite(value) else math.inf
