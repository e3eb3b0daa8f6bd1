"""The damped normal equations (JᵀJ + μ D²) d = v, with Marquardt's scaling D² = diag JᵀJ, kept from below.

Columns are scaled to unit length before the Cholesky factorisation, which then sees a matrix with unit
diagonal and 1 + μ on it. Source: Moré, The Levenberg-Marquardt algorithm (1978), section 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-3
"""Smallest D² relative to the largest. Marquardt's scaling alone frees parameters that hardly matter, such as those
of saturated neurons, until they do harm. Measured in docs/decisions/0003-a-floor-under-marquardts-scaling.md."""


class DampedNormalEquations:
    """Factorised once, solved for as many right-hand sides as needed. ``jacobian``: (N, P), ``damping``: 0-d."""

    def __init__(self, jacobian: Tensor, damping: Tensor) -> None:
        gram = jacobian.T @ jacobian
        diagonal = gram.diagonal()
        self.inverse_scale = diagonal.clamp_min(FLOOR * diagonal.max()).rsqrt()
        self._scaled = gram * self.inverse_scale * self.inverse_scale[:, None]
        damped = self._scaled.clone()
        damped.diagonal().add_(damping)
        # A matrix that is not positive definite leaves a useless factor: its step fails the gain-ratio test.
        self._factor, _ = torch.linalg.cholesky_ex(damped)

    def solve(self, v: Tensor) -> Tensor:
        """The step d (P,) with (JᵀJ + μ D²) d = v (P,)."""
        y: Tensor = torch.cholesky_solve((v * self.inverse_scale)[:, None], self._factor)[:, 0]
        return y * self.inverse_scale

    def length(self, d: Tensor) -> Tensor:
        """‖D d‖: the length of a step in units of what each parameter changes."""
        length: Tensor = (d / self.inverse_scale).norm()
        return length

    def predicted_decrease(self, d: Tensor, gradient: Tensor) -> Tensor:
        """‖r‖² - ‖r + J d‖² from the Gram matrix, with ``gradient`` = Jᵀ r."""
        y = d / self.inverse_scale
        decrease: Tensor = -2 * (gradient @ d) - y @ (self._scaled @ y)
        return decrease
