"""Powell's dogleg: from the steepest descent's minimiser towards the Gauss-Newton step, as far as is trusted.

Source: Powell, A hybrid method for nonlinear equations (1970); Nocedal & Wright, Numerical Optimization (2006), section
4.1, here in the scaled parameters D d.
"""

from __future__ import annotations

import torch
from torch import Tensor

from usd_solvers.least_squares.damped import DampedProblem
from usd_solvers.least_squares.group import sum_over_rows


def dogleg(system: DampedProblem, b: Tensor, radius: Tensor) -> Tensor:
    """The step d (P,) with ‖D d‖ at most ``radius`` (0-d) for the right-hand side b (N,).

    The Gauss-Newton step is the system's minimiser, so its damping should be slight.
    """
    downhill = system.transposed(b)
    along = system.times(system.inverse_scale * downhill)
    cauchy = downhill * (downhill @ downhill) / sum_over_rows(along @ along)
    newton = system.minimise(b) / system.inverse_scale
    on = newton - cauchy
    # |cauchy + t on| = radius, the larger root, in the form that does not cancel where cauchy · on > 0
    half, rest = cauchy @ on, radius.square() - cauchy @ cauchy
    root = (half.square() + (on @ on) * rest.clamp_min(0.0)).sqrt()
    t = torch.where(half > 0, rest / (half + root), (root - half) / (on @ on))
    bent = cauchy + t.clamp(0.0, 1.0) * on
    first = downhill * (radius / torch.linalg.vector_norm(downhill))
    y = torch.where(rest > 0, bent, first)
    inside = torch.linalg.vector_norm(newton) <= radius
    step: Tensor = system.inverse_scale * torch.where(inside, newton, y)
    return step
