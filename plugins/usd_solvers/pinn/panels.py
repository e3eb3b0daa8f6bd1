"""Panels on which nonlocal terms are integrated; their Gauss points are then the collocation points."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from usd_bench.elements import Elements, gauss
from usd_bench.problem import Problem
from usd_solvers.pinn.shares import shares

NODES = 12
"""Gauss points of a panel."""

GROWTH = 0.25
"""How panels widen with the distance from s = 0, around which profiles vary: width ~ sqrt(1 + (GROWTH s)^2)."""


def panels_of(problem: Problem, points: int) -> Elements:
    """Panels with about ``points`` Gauss points in all, over the extent of every profile that λ's bracket admits."""
    lows, highs = zip(*(problem.extent(lam)[0] for lam in (problem.bracket.low, problem.bracket.high)), strict=True)
    low, high = min(lows), max(highs)
    number = max(1, round(points / NODES))
    at = torch.linspace(math.asinh(GROWTH * low), math.asinh(GROWTH * high), number + 1, dtype=torch.float64)
    return Elements(torch.sinh(at) / GROWTH)


def panels_by(panels: Elements, size: Tensor, points: int) -> Elements:
    """Panels with about ``points`` Gauss points in all: half of them divide the old ones evenly, half where a function
    is large, of which ``size`` (N,) is known at the old Gauss points.
    """
    share = shares(size.view(len(panels), NODES).mean(1).cpu())
    filled = torch.cat([share.new_zeros(1), share.cumsum(0)])
    at = torch.linspace(0, float(filled[-1]), max(1, round(points / NODES)) + 1, dtype=torch.float64)
    index = torch.searchsorted(filled, at, right=True).sub(1).clamp(0, len(panels) - 1)
    within = ((at - filled[index]) / (filled[index + 1] - filled[index])).clamp(0, 1)
    return Elements(panels.breaks[index] + within * panels.breaks.diff()[index])


def panel_points(panels: Elements) -> Tensor:
    """The collocation points (N, 1)."""
    return panels.points(gauss(NODES)[0]).reshape(-1, 1)


def panels_with(points: Tensor) -> Elements:
    """The panels whose ``panel_points`` these are."""
    local = gauss(NODES)[0]
    by_panel = points.cpu().view(-1, NODES)
    centre, half = by_panel[:, [0, -1]].mean(1), (by_panel[:, -1] - by_panel[:, 0]) / (local[-1] - local[0])
    return Elements(torch.cat([centre[:1] - half[:1], centre + half]))


def term_matrices(problem: Problem, points: Tensor) -> dict[str, Tensor]:
    """For each nonlocal term the matrix (N, N) from the density at the Gauss points of panels to the term there."""
    matrices = problem.operators(panels_with(points), NODES, points.cpu()[:, 0])
    return {name: matrix.to(points.device) for name, matrix in matrices.items()}
