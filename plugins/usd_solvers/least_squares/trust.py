"""The radius within which a linear model is trusted, by what a step achieved against what was predicted.

Source: Nocedal & Wright, Numerical Optimization (2006), algorithm 4.1; lengths are ‖D d‖.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST, LARGEST = 1e-20, 1e20


def next_radius(radius: Tensor, length: Tensor, gain: Tensor) -> Tensor:
    """The radius (0-d) after a step of this length with this gain ratio: actual by predicted decrease.

    A quarter of the step where the gain is below 1/4 or not a number; three times the step, if that is more than the
    radius, where it is above 3/4.
    """
    poor = ~(gain >= 0.25)
    after = torch.where(poor, 0.25 * length.clamp(max=radius), radius)
    after = torch.where(gain > 0.75, torch.maximum(radius, 3 * length), after)
    return after.clamp(SMALLEST, LARGEST)
