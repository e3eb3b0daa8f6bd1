"""What the one-dimensional models share: odd vorticity on the half line, moved by its own Hilbert transform."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from usd_bench.collocation.reference import stored_profile
from usd_bench.elements import Elements
from usd_bench.problem import Problem, axis
from usd_bench.profile import Profile
from usd_problems.hilbert import hilbert_operators

ORIGIN = -36.0
"""An s so far left that e^s is below rounding."""


class HalfLine(Problem):
    """A problem in s = ln y whose vorticity Ω = y^p G enters by W = HΩ and V = U/y, U' = HΩ."""

    coords = ("s",)
    nonlocal_terms = ("W", "V")
    enclosed_terms = "usd_problems.enclosed_hilbert:HilbertTerms"
    exponent = 1.0
    """Regularity p at the origin; 1 is smooth. Varied by continuation, never by a user."""

    def density(self, u: SimpleNamespace, x: SimpleNamespace) -> Tensor:
        vorticity: Tensor = (self.exponent * x.s).exp() * u.G
        return vorticity

    def operators(self, panels: Elements, nodes: int, at: Tensor) -> dict[str, Tensor]:
        return hilbert_operators(panels, nodes, at)

    def collocation(self, n: int, generator: torch.Generator) -> Tensor:
        u = (torch.arange(n) + torch.rand(n, generator=generator, dtype=torch.float64)) / n
        return (u[:, None].clamp(1e-6, 1 - 1e-6)).logit() * 2

    def grid(self, n: int) -> tuple[Tensor, ...]:
        return (axis(-8, 12, n),)

    def reference(self) -> Profile | None:
        return stored_profile(self)
