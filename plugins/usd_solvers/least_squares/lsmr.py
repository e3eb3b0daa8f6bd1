"""By LSMR on [J D⁻¹; √μ]: neither J nor JᵀJ is ever formed, for more parameters than a matrix has room for.

Source: Fong & Saunders, LSMR: an iterative algorithm for sparse least-squares problems, SIAM J. Sci. Comput. 33 (2011)
2950, section 5.1 (with damping); the preconditioner D is Marquardt's scaling.
"""

from __future__ import annotations

import torch
from torch import Tensor

from usd_solvers.least_squares.damped import inverse_scale
from usd_solvers.least_squares.group import sum_over_rows
from usd_solvers.least_squares.operator import Operator, OperatorLeastSquares, sum_of

TINY = 1e-300
"""Added to lengths before division: where the iteration has converged, what it divides is zero too."""


class LSMR(OperatorLeastSquares):
    """``iterations`` of one product with J and one with Jᵀ; no value is read back to stop earlier."""

    def __init__(self, jacobian: Operator, damping: Tensor, iterations: int) -> None:
        super().__init__(jacobian)
        self._iterations = iterations
        self._root = damping.sqrt()
        squares = sum_of(block.square_().sum(0) for block in jacobian.blocks())
        self.inverse_scale = inverse_scale(sum_over_rows(squares))

    def minimise(self, b: Tensor) -> Tensor:
        """Near the minimiser d (P,) for b (N,), the nearer the more iterations."""
        u, beta = _unit_over_rows(b)
        v, alpha = _unit(self.transposed(u))
        one = torch.ones_like(beta)
        alphabar, zetabar, rho, rhobar, cbar, sbar = alpha, alpha * beta, one, one, one, torch.zeros_like(one)
        h, hbar, y = v, torch.zeros_like(v), torch.zeros_like(v)
        for _ in range(self._iterations):
            u, beta = _unit_over_rows(self.times(self.inverse_scale * v) - alpha * u)
            v, alpha = _unit(self.transposed(u) - beta * v)
            alphahat = torch.hypot(alphabar, self._root)
            rho_before, rho = rho, torch.hypot(alphahat, beta)
            c, s = alphahat / (rho + TINY), beta / (rho + TINY)
            theta, alphabar = s * alpha, c * alpha
            rhobar_before, thetabar = rhobar, sbar * rho
            rhobar = torch.hypot(cbar * rho, theta)
            cbar, sbar = cbar * rho / (rhobar + TINY), theta / (rhobar + TINY)
            zeta, zetabar = cbar * zetabar, -sbar * zetabar
            hbar = h - thetabar * rho / (rho_before * rhobar_before + TINY) * hbar
            y = y + zeta / (rho * rhobar + TINY) * hbar
            h = v - theta / (rho + TINY) * h
        return self.inverse_scale * y


def _unit_over_rows(vector: Tensor) -> tuple[Tensor, Tensor]:
    size = sum_over_rows(vector @ vector).sqrt()
    return vector / (size + TINY), size


def _unit(vector: Tensor) -> tuple[Tensor, Tensor]:
    size = torch.linalg.vector_norm(vector)
    return vector / (size + TINY), size
