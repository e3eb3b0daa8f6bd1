"""How far to go along a step: the best of a grid of lengths, all tried, for nothing may be read back to stop earlier.

Source: Müller & Zeinhofer, Achieving high accuracy with PINNs via energy natural gradients, arXiv:2302.13163, sec. 4.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

HALVINGS = 8
"""The shortest length is 2 to the minus this."""


def best_length(loss: Callable[[Tensor], Tensor], like: Tensor) -> tuple[Tensor, Tensor]:
    """Of 1, 1/2, 1/4, … the length (0-d) with the least finite ``loss`` (0-d), and that loss.

    Where none is finite, length 0 and an infinite loss. ``like`` gives dtype and device.
    """
    lengths = 0.5 ** torch.arange(HALVINGS + 1, dtype=like.dtype, device=like.device)
    losses = torch.stack([loss(length) for length in lengths]).nan_to_num(nan=torch.inf)
    best = losses.min()
    return torch.where(best.isfinite(), lengths[losses.argmin()], 0.0), best
