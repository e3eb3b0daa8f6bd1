"""The dominant frequency of a residual on scattered points, for the networks that are to remove it."""

from __future__ import annotations

import torch
from torch import Tensor

DIRECTIONS = 24
"""Directions in which waves are tried; those along the axes are among them."""

HIGHEST = 240
"""Highest frequency, in radians per unit of the features, which span two."""


def dominant_frequency(features: Tensor, residual: Tensor) -> float:
    """Wave number, in radians per unit, with the largest share of the residual (equations, N) over features (N, d).

    A periodogram on scattered points: the mean of r e^(-i k·z) for wave vectors of all lengths, in directions along the
    axes and between them. At least 1. Source: Scargle, Astrophys. J. 263 (1982) 835.
    """
    generator = torch.Generator().manual_seed(0)
    d = features.shape[1]
    between = torch.randn(DIRECTIONS - d, d, generator=generator, dtype=torch.float64)
    directions = torch.cat([torch.eye(d, dtype=torch.float64), between / between.norm(dim=1, keepdim=True)])
    centred = residual - residual.mean(1, keepdim=True)
    along = features @ directions.T.to(features.device)  # (N, directions)
    power = [
        (centred @ torch.cos(k * along)).square() + (centred @ torch.sin(k * along)).square()
        for k in range(1, HIGHEST + 1)
    ]
    return float(torch.stack(power).sum(1).amax(1).argmax()) + 1
