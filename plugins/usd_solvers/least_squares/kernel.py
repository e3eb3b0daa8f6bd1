"""By the kernel form y = D⁻¹Jᵀ (JD⁻²Jᵀ + μ)⁻¹ b: for fewer rows than parameters, N²P instead of NP²."""

from __future__ import annotations

import torch
from torch import Tensor

from usd_solvers.least_squares.damped import DampedLeastSquares


class Kernel(DampedLeastSquares):
    """N²P + N³/3 flops, N² further numbers of memory. Loses κ² ε.

    Source: Goldshlager, Abrahamsen & Lin, arXiv:2401.10190.
    """

    def _factorise(self) -> None:
        kernel = self._scaled @ self._scaled.T
        kernel.diagonal().add_(self._damping)
        self._factor, _ = torch.linalg.cholesky_ex(kernel)

    def _minimise(self, b: Tensor) -> Tensor:
        y: Tensor = self._scaled.T @ torch.cholesky_solve(b[:, None], self._factor)[:, 0]
        return y
