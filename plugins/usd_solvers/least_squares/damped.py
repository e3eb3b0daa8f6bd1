"""The damped linear least-squares problem of a Gauss-Newton step, and what its solvers share.

    minimise ‖J d - b‖² + μ ‖D d‖²,    D² = diag JᵀJ, kept from below

In y = D d the columns of J D⁻¹ have length one, or less where D is kept from below: Marquardt's scaling. Solvers differ
in cost and in the digits they lose to the condition κ of the stacked matrix [J D⁻¹; √μ]: κ² ε with rounding ε by the
normal equations, κ ε by the others. Source: Moré, The Levenberg-Marquardt algorithm (1978), section 2; Björck,
Numerical Methods for Least Squares Problems (1996), chapter 2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from usd_solvers.least_squares.group import sum_over_rows

FLOOR = 1e-3
"""Smallest D² relative to the largest. Marquardt's scaling alone frees parameters that hardly matter, such as those
of saturated neurons, until they do harm. Measured in docs/decisions/0003-a-floor-under-marquardts-scaling.md."""


def inverse_scale(square: Tensor) -> Tensor:
    """1/D (P,) from the diagonal of JᵀJ."""
    return square.clamp_min(FLOOR * square.max()).rsqrt()


class DampedProblem(ABC):
    """What a Gauss-Newton step asks of the problem, whatever form the Jacobian has."""

    inverse_scale: Tensor
    """1/D (P,)."""
    jvp = 0
    """Products with the Jacobian that took a pass of their own."""
    vjp = 0
    """The same with its transpose."""

    @abstractmethod
    def minimise(self, b: Tensor) -> Tensor:
        """The minimiser d (P,) for b (N,)."""

    @abstractmethod
    def times(self, d: Tensor) -> Tensor:
        """J d (N,)."""

    @abstractmethod
    def transposed(self, b: Tensor) -> Tensor:
        """D⁻¹Jᵀ b (P,)."""

    def length(self, d: Tensor) -> Tensor:
        """‖D d‖: the length of a step in units of what each parameter changes."""
        length: Tensor = torch.linalg.vector_norm(d / self.inverse_scale)
        return length


class DampedLeastSquares(DampedProblem):
    """Factorised once, solved for as many right-hand sides as needed.

    ``jacobian``: (N, P), taken over and scaled in place: a copy would double the memory of a step. ``damping``: 0-d.
    Nothing is read back from the device: a factorisation that fails leaves a useless step, which the gain-ratio test
    rejects. ``marquardt``: whether D is as above, or one.
    """

    def __init__(self, jacobian: Tensor, damping: Tensor, marquardt: bool = True) -> None:
        self.inverse_scale = torch.ones_like(jacobian[0])
        if marquardt:
            self.inverse_scale = inverse_scale(sum_over_rows(torch.linalg.vector_norm(jacobian, dim=0).square()))
        self._scaled = jacobian.mul_(self.inverse_scale)
        self._damping = damping
        self._factorise()

    def minimise(self, b: Tensor) -> Tensor:
        d: Tensor = self.inverse_scale * self._minimise(b)
        return d

    def times(self, d: Tensor) -> Tensor:
        product: Tensor = self._scaled @ (d / self.inverse_scale)
        return product

    def transposed(self, b: Tensor) -> Tensor:
        return sum_over_rows(self._scaled.T @ b)

    @abstractmethod
    def _factorise(self) -> None: ...

    @abstractmethod
    def _minimise(self, b: Tensor) -> Tensor:
        """The minimiser y = D d."""

    def _stacked(self) -> Tensor:
        """[J D⁻¹; √μ], (N + P, P)."""
        n, p = self._scaled.shape
        stacked = self._scaled.new_zeros(n + p, p)
        stacked[:n] = self._scaled
        stacked[n:].diagonal().copy_(self._damping.sqrt().expand(p))
        return stacked
