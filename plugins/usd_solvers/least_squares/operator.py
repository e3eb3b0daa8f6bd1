"""The Jacobian as an operator: products with it and its transpose, and its rows in blocks, but never the matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Operator:
    """``times``: J d (N,) for d (P,). ``transposed``: Jᵀ b (P,) for b (N,). ``blocks``: its rows, some at a time."""

    times: Callable[[Tensor], Tensor]
    transposed: Callable[[Tensor], Tensor]
    blocks: Callable[[], Iterator[Tensor]]

    def with_columns(self, factors: Tensor) -> Operator:
        """The same with column p multiplied by ``factors[p]``."""
        return Operator(
            lambda d: self.times(factors * d),
            lambda b: factors * self.transposed(b),
            lambda: (block.mul_(factors) for block in self.blocks()),
        )
