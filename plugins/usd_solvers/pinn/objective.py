"""What of the residual is minimised: its rows as they are, by their size, or with their gradient; as a sum of squares.

``residual``: the scaled residuals. ``amplitude``: each point's divided by √(1 + |∇u|²) of the fields there, so that
steep layers do not outweigh the rest; Wang, Léger, Lai & Buckmaster 2025, arXiv:2511.22819. ``gradient``: with the
residual's gradient as further rows; Wang et al. 2025, arXiv:2509.14185, Methods. The gradient is taken by differences
between a point and its neighbours, which makes it a linear map of rows: a zero of the residual stays one, and no
derivative beyond the equation's own is needed.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from usd_solvers.least_squares.group import share
from usd_solvers.least_squares.operator import Operator
from usd_solvers.pinn.ansatz import Ansatz

Loss = Literal["residual", "amplitude", "gradient"]

STEP = 1e-3
"""Distance of the neighbours, in the problem's coordinates, which are of order one."""

GRADIENT_WEIGHT = 0.1
"""Size of a gradient's row relative to the residual's own."""


class Objective:
    """Rows whose sum of squares is the loss: a mean over ``x`` (N, d), linearised about ``theta``.

    Of several processes each has the rows of its share of the points.
    """

    def __init__(self, loss: Loss, ansatz: Ansatz, theta: Tensor, x: Tensor) -> None:
        self._ansatz, self._loss = ansatz, loss
        shared = share(x)
        self._x = _with_neighbours(shared) if loss == "gradient" else shared
        self._parts = len(self._x) // len(shared)
        self.weight = 1 / math.sqrt(len(x) * len(ansatz.problem.equations))
        """By which every row is multiplied, so that sums of squares become means."""
        self._by_point = 1 / ansatz.steepness(theta, shared) if loss == "amplitude" else None

    def rows(self, theta: Tensor) -> Tensor:
        """The rows at ``theta``."""
        return self._combined(self._ansatz.residual(theta, self._x).flatten()).mul_(self.weight)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the Jacobian."""
        return len(self._ansatz.problem.equations) * len(self._x), self._ansatz.size

    def linearise(self, theta: Tensor, out: Tensor | None = None, chunk: int | None = None) -> tuple[Tensor, Tensor]:
        """The rows, and their Jacobian but for the factor ``weight``, which the linear solver's scaling absorbs.

        ``out``: where the Jacobian goes, of this ``shape``. ``chunk``: points at a time.
        """
        r, jacobian = self._ansatz.linearise(theta, self._x, out, chunk)
        return self._combined(r).mul_(self.weight), self._combined(jacobian)

    def operator(self, theta: Tensor, chunk: int) -> tuple[Tensor, Operator]:
        """The same with the Jacobian as an operator, for the loss ``residual``."""
        assert self._loss == "residual"
        r, jacobian = self._ansatz.operator(theta, self._x, chunk)
        return r * self.weight, jacobian

    def _combined(self, rows: Tensor) -> Tensor:
        """In place: what the loss makes of the residual's rows (equations · parts · N, ...)."""
        rest = rows.shape[1:]
        if self._by_point is not None:
            by_point = self._by_point.view(1, -1, *(1 for _ in rest))
            rows.view(-1, len(self._x), *rest).mul_(by_point)
        if self._parts > 1:
            parts = rows.view(-1, self._parts, len(self._x) // self._parts, *rest)
            parts[:, 1:].sub_(parts[:, :1]).mul_(GRADIENT_WEIGHT / STEP)
        return rows


def _with_neighbours(x: Tensor) -> Tensor:
    """The points (N, d), then those a step along each axis from them, ((1 + d) N, d)."""
    axes = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return torch.cat([x, *(x + STEP * axis for axis in axes)])
