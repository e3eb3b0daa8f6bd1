"""A damped step that is damped towards a part of the step before, not towards zero.

    minimise ‖J d - b‖² + μ ‖D (d - η d₋)‖²

What a batch of points says nothing about is then kept from the batches before. Source: Goldshlager, Abrahamsen & Lin,
J. Comput. Phys. 516 (2024) 113351, arXiv:2401.10190 (SPRING), where D = 1.
"""

from __future__ import annotations

from torch import Tensor

from usd_solvers.least_squares.damped import DampedProblem


def with_momentum(system: DampedProblem, b: Tensor, before: Tensor, decay: float) -> Tensor:
    """The step d (P,) for b (N,), with the step ``before`` (P,) and η = ``decay``."""
    kept = decay * before
    return kept + system.minimise(b - system.times(kept))
