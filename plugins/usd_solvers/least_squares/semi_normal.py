"""By the corrected semi-normal equations RᵀR y = D⁻¹Jᵀb, R of a QR whose Q is thrown away, and one correction.

Source: Björck, Stability analysis of the method of semi-normal equations, Linear Algebra Appl. 88/89 (1987) 31.
"""

from __future__ import annotations

import torch
from torch import Tensor

from usd_solvers.least_squares.damped import DampedLeastSquares
from usd_solvers.least_squares.group import size, stacked


class SemiNormal(DampedLeastSquares):
    """The flops of ``QR``; P² further numbers of memory once R is there. Loses κ ε where κ² ε is well below one."""

    def _factorise(self) -> None:
        if size() == 1:
            self._r = torch.linalg.qr(self._stacked(), mode="r")[1]
            return
        p = self._scaled.shape[1]
        own = torch.linalg.qr(self._scaled, mode="r")[1]
        triangles = stacked(torch.cat([own, own.new_zeros(p - len(own), p)]))
        damping = torch.diag_embed(self._damping.sqrt().expand(p))
        self._r = torch.linalg.qr(torch.cat([triangles, damping]), mode="r")[1]

    def _minimise(self, b: Tensor) -> Tensor:
        y = self._solve(self.transposed(b))
        left = self.transposed(b - self._scaled @ y) - self._damping * y
        return y + self._solve(left)

    def _solve(self, v: Tensor) -> Tensor:
        half = torch.linalg.solve_triangular(self._r.T, v[:, None], upper=False)
        y: Tensor = torch.linalg.solve_triangular(self._r, half, upper=True)[:, 0]
        return y
