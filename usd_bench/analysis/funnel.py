"""The funnel: how the residual of profiles with λ held depends on λ. It narrows about the λ of a smooth profile.

Source: Wang, Lai, Gómez-Serrano & Buckmaster, Phys. Rev. Lett. 130 (2023) 244002, arXiv:2201.06780.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Funnel:
    """λ of the runs in ascending order with the smallest residual found at each, and where the funnel narrows."""

    points: list[tuple[float, float]]
    tip: float | None
    """Where the sides next to the smallest residual meet, if they fall linearly; None where it stands at an end."""


def funnel(held: Iterable[tuple[float, float]]) -> Funnel:
    """The funnel of pairs (λ, residual).

    The residual at held λ is about c |λ - λ*|. The tip lies between the lowest point and one of its neighbours: the one
    for which the slopes of both sides agree better. It divides their distance as their residuals.
    """
    best: dict[float, float] = {}
    for lam, residual in held:
        best[lam] = min(residual, best.get(lam, residual))
    points = sorted(best.items())
    at = min(range(len(points)), key=lambda i: points[i][1], default=0)
    if not 0 < at < len(points) - 1:
        return Funnel(points, None)
    low, neighbours = points[at], (points[at - 1], points[at + 1])
    slopes = [(other[1] + low[1]) / abs(other[0] - low[0]) for other in neighbours]  # if the tip lies between
    along = [(other[1] - low[1]) / abs(other[0] - low[0]) for other in neighbours]  # if not
    across = neighbours[0] if abs(slopes[0] - along[1]) <= abs(slopes[1] - along[0]) else neighbours[1]
    return Funnel(points, (low[0] * across[1] + across[0] * low[1]) / (low[1] + across[1]))
