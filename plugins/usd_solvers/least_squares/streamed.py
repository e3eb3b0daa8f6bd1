"""By the normal equations, with JᵀJ summed over blocks of rows: memory P² and one block, whatever N is."""

from __future__ import annotations

import torch
from torch import Tensor

from usd_solvers.least_squares.cholesky import lower_gram
from usd_solvers.least_squares.damped import inverse_scale
from usd_solvers.least_squares.group import sum_over_rows
from usd_solvers.least_squares.operator import Operator, OperatorLeastSquares, sum_of


class Streamed(OperatorLeastSquares):
    """What ``Cholesky`` is for a matrix, for an operator. Loses κ² ε."""

    def __init__(self, jacobian: Operator, damping: Tensor) -> None:
        super().__init__(jacobian)
        gram = sum_over_rows(sum_of(lower_gram(block) for block in jacobian.blocks()))
        self.inverse_scale = inverse_scale(gram.diagonal())
        gram *= self.inverse_scale * self.inverse_scale[:, None]
        gram.diagonal().add_(damping)
        self._factor, _ = torch.linalg.cholesky_ex(gram)

    def minimise(self, b: Tensor) -> Tensor:
        d: Tensor = self.inverse_scale * torch.cholesky_solve(self.transposed(b)[:, None], self._factor)[:, 0]
        return d
