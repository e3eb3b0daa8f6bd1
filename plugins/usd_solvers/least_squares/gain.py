"""The gain-ratio test: accept a step by what it achieved against what was predicted, and set the damping.

Source: Nielsen, Damping parameter in Marquardt's method, IMM-REP-1999-05, eq. (2.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDING = 1e-12
"""Relative changes of a sum of squares that are taken for rounding: residuals are differences of larger numbers."""


def judge(loss: Tensor, reached: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
    """Whether to accept (bool, 0-d) a step from ``loss`` to ``reached``, and its gain: by how much of the ``predicted``
    decrease the loss fell.

    A change that is not a number is a rejection. Where the predicted decrease is lost in the rounding of the loss, the
    prediction is believed: the loss is flat about its minimum, and alone would leave half the digits.
    """
    decrease, rounding = loss - reached, ROUNDING * loss
    believed = (predicted > 0) & (predicted < rounding) & (decrease.abs() < rounding)
    gain = torch.where(believed, 1.0, decrease / predicted)
    return believed | ((decrease > 0) & (predicted > 0)), gain


@dataclass(frozen=True)
class Damping:
    """μ, and the factor by which the next rejection raises it. 0-d tensors: no value ever leaves the device."""

    value: Tensor
    raise_by: Tensor

    def after(self, accept: Tensor, gain: Tensor) -> Damping:
        """The damping of the next iteration."""
        lowered = self.value * (1 - (2 * gain - 1) ** 3).clamp(1 / 3, 2)
        value = torch.where(accept, lowered, self.value * self.raise_by)
        raise_by = torch.where(accept, torch.full_like(value, 2.0), self.raise_by * 2)
        return Damping(value.clamp(1e-20, 1e20), raise_by.clamp(max=2.0**20))
