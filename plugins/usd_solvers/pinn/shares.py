"""How many of the points, panels or neurons of a later stage go where."""

from __future__ import annotations

from torch import Tensor


def shares(size: Tensor) -> Tensor:
    """Shares (N,) of which one half is even and the other in proportion to ``size`` (N,), a residual's."""
    return 1 + size / size.mean()
