"""Spectral elements on a line: polynomials between breaks, and what collocation and quadrature need of them.

Matrices come from barycentric interpolation. Source: Berrut & Trefethen, SIAM Review 46 (2004) 501; Trefethen,
Approximation Theory and Approximation Practice (2013), chapters 5 and 19.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Elements:
    """Intervals between ascending ``breaks`` (E+1,); each carries local coordinates in [-1, 1]."""

    breaks: Tensor

    def __len__(self) -> int:
        return len(self.breaks) - 1

    @cached_property
    def half(self) -> Tensor:
        """Half the width of each element, (E,)."""
        return self.breaks.diff() / 2

    @cached_property
    def centre(self) -> Tensor:
        return (self.breaks[1:] + self.breaks[:-1]) / 2

    def points(self, local: Tensor) -> Tensor:
        """The points with the given local coordinates (n,) in every element, (E, n)."""
        return self.centre[:, None] + self.half[:, None] * local

    def locate(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """For points (N,): their element, and their local coordinate in it. Points outside are moved to the ends.

        The coordinate is differentiable in ``s``.
        """
        index = torch.searchsorted(self.breaks, s.detach().contiguous(), right=True).sub(1).clamp(0, len(self) - 1)
        return index, ((s - self.centre[index]) / self.half[index]).clamp(-1, 1)

    def split(self, chosen: Tensor) -> Elements:
        """The same elements with the chosen ones (bool, (E,)) halved."""
        return Elements(torch.cat([self.breaks, self.centre[chosen]]).sort().values)


@lru_cache
def gauss(n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the ``n``-point Gauss-Legendre rule on [-1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


@lru_cache
def lobatto(n: int) -> Tensor:
    """``n`` Chebyshev points with both ends, ascending."""
    return torch.sin(torch.linspace(-math.pi / 2, math.pi / 2, n, dtype=torch.float64))


def polynomials(x: Tensor, n: int) -> Tensor:
    """Chebyshev polynomials T_0 … T_(n-1) at ``x``, stacked last. Differentiable everywhere."""
    rows = [torch.ones_like(x), x]
    for _ in range(n - 2):
        rows.append(2 * x * rows[-1] - rows[-2])
    return torch.stack(rows[:n], -1)


@lru_cache
def to_coefficients(n: int, ends: bool) -> Tensor:
    """The matrix from values at ``n`` Chebyshev points with both ends, or Gauss points, to Chebyshev coefficients."""
    inverse: Tensor = torch.linalg.inv(polynomials(lobatto(n) if ends else gauss(n)[0], n))
    return inverse


def _barycentric_weights(nodes: Tensor) -> Tensor:
    difference = 2 * (nodes[:, None] - nodes)  # capacity 1/2 of [-1, 1]: weights stay of order one
    weights: Tensor = 1 / difference.fill_diagonal_(1.0).prod(1)
    return weights


def interpolation(nodes: Tensor, at: Tensor) -> Tensor:
    """The matrix (len(at), len(nodes)) from values at nodes in [-1, 1] to the interpolant's values at ``at``."""
    difference = at[:, None] - nodes
    terms = _barycentric_weights(nodes) / torch.where(difference == 0, 1.0, difference)
    rows = terms / terms.sum(1, keepdim=True)
    hit = difference == 0
    return torch.where(hit.any(1, keepdim=True), hit.to(rows.dtype), rows)


def differentiation(nodes: Tensor) -> Tensor:
    """The matrix from values at nodes in [-1, 1] to the interpolant's derivative there."""
    weights = _barycentric_weights(nodes)
    difference = (nodes[:, None] - nodes).fill_diagonal_(1.0)
    matrix = weights / weights[:, None] / difference
    matrix.fill_diagonal_(0.0)
    exact: Tensor = matrix - torch.diag(matrix.sum(1))  # constants have derivative zero
    return exact
