"""By the normal equations (D⁻¹JᵀJD⁻¹ + μ) y = D⁻¹Jᵀb and Cholesky's factorisation: cheapest, loses κ² ε."""

from __future__ import annotations

import torch
from torch import Tensor

from usd_solvers.least_squares.damped import DampedLeastSquares
from usd_solvers.least_squares.group import sum_over_rows

BLOCK = 256
"""Columns of a block row of the Gram matrix: smaller ones save more, larger ones multiply faster."""


class Cholesky(DampedLeastSquares):
    """NP² + P³/3 multiplications and as many additions, for half of the symmetric product is not computed; 2P² further
    numbers of memory.
    """

    def _factorise(self) -> None:
        gram = sum_over_rows(lower_gram(self._scaled))
        gram.diagonal().add_(self._damping)
        # A matrix that is not positive definite leaves a useless factor: its step fails the gain-ratio test.
        self._factor, _ = torch.linalg.cholesky_ex(gram)

    def _minimise(self, b: Tensor) -> Tensor:
        y: Tensor = torch.cholesky_solve(self.transposed(b)[:, None], self._factor)[:, 0]
        return y


def lower_gram(a: Tensor) -> Tensor:
    """The lower triangle of aᵀa (P, P), which is all that Cholesky's factorisation reads; blocks above are zero."""
    p = a.shape[1]
    gram = a.new_zeros(p, p)
    for low in range(0, p, BLOCK):
        high = min(low + BLOCK, p)
        gram[low:high, :high] = a[:, low:high].T @ a[:, :high]
    return gram
