"""The frequency of a residual on scattered points, for the networks that are to remove it."""

from __future__ import annotations

import torch
from torch import Tensor

DIRECTIONS = 24
"""Directions in which waves are tried; those along the axes are among them."""

HIGHEST = 240
"""Highest frequency, in radians per unit of the features, which span two."""

NOISE = 4.0
"""What scattering makes of power, relative to its mean over all waves: the mean of the largest of 24 exponentials."""


def median_frequency(features: Tensor, residual: Tensor) -> float:
    """Wave number, in radians per unit, below which half the power of the residual (equations, N) over features (N, d)
    lies. At least 1.

    By a periodogram on scattered points: the mean of r e^(-i k·z) for wave vectors of all lengths, in directions along
    the axes and between them. Where residuals stand in a layer their frequency runs through all values, and the one
    with most power says little. Source: Scargle, Astrophys. J. 263 (1982) 835.
    """
    generator = torch.Generator().manual_seed(0)
    d = features.shape[1]
    between = torch.randn(DIRECTIONS - d, d, generator=generator, dtype=torch.float64)
    directions = torch.cat([torch.eye(d, dtype=torch.float64), between / between.norm(dim=1, keepdim=True)])
    centred = residual - residual.mean(1, keepdim=True)
    along = features @ directions.T.to(features.device)  # (N, directions)
    power = torch.stack(
        [
            (centred @ torch.cos(k * along)).square().sum(0) + (centred @ torch.sin(k * along)).square().sum(0)
            for k in range(1, HIGHEST + 1)
        ]
    ).amax(1)
    # Scattered points make a little power everywhere; no more than its largest value in any direction counts.
    above = (power - NOISE * centred.square().sum()).clamp(min=0)
    return float((above.cumsum(0) < above.sum() / 2).sum()) + 1
