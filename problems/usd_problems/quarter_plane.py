"""What the profiles at a wall share: the quarter plane in log-polar coordinates, by symmetry even in y1."""

from __future__ import annotations

import math
from abc import abstractmethod
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from pydantic import Field as Checked
from torch import Tensor
from torch.quasirandom import SobolEngine

from usd_bench.collocation.reference import stored_profile
from usd_bench.problem import Condition, Problem, ProblemParameters, axis
from usd_bench.profile import Profile

FAR = 24.0
"""The largest s of collocation points: beyond it every term of the far field is a power of r."""


class QuarterPlane(Problem):
    """A problem in s = ln r and β = atan2(y2, y1) in [0, π/2]: wall at β = 0, symmetry axis at β = π/2."""

    coords = ("s", "beta")
    continuous = ("exponent",)
    exponent = 1.0
    """Regularity p at the origin; 1 is smooth. Varied by continuation, never by a user."""
    origin: ClassVar[float]
    """An s so far left that it stands for the stagnation point."""
    axis_width: ClassVar[float]
    """Distance from the axis, relative to r, within which profiles level off: outside they vary like powers of it."""

    class Parameters(ProblemParameters):
        order: int = Checked(0, ge=0, le=12, description="0 stable; n has n unstable modes")

    def origin_points(self) -> Tensor:
        """Points that stand for the stagnation point, (9, 2)."""
        return torch.cartesian_prod(axis(self.origin, self.origin, 1), axis(0, math.pi / 2, 9))

    def stream_conditions(self, strain: str) -> tuple[Condition, Condition]:
        """Those of χ; ``strain``: how A is written."""
        walls = torch.cartesian_prod(axis(-8, 20, 57), axis(0, math.pi / 2, 2))
        return (
            Condition(
                f"χ -> {strain} sin 2β at the origin",
                "admissibility",
                self.origin_points(),
                lambda u, x, lam: u.chi - self.strain(lam) * (2 * x.beta).sin(),
            ),
            Condition("χ = 0 on wall and axis", "wall", walls, lambda u, x, lam: u.chi),
        )

    @abstractmethod
    def strain(self, lam: Any) -> Any:
        """A of χ -> A sin 2β at the origin, for what is carried to grow there like a power of y1."""

    @property
    def pins(self) -> dict[str, tuple[float, ...]]:
        return {field.name: (self.origin, 0.0) for field in self.fields}

    def radial(self, s: Any, power: Any) -> Any:
        """(1 + r^2)^(-power/2)."""
        return ((2 * s).exp().log1p() * (-power / 2)).exp()

    def features(self, x: SimpleNamespace, lam: Tensor) -> tuple[Any, ...]:
        q = self.radial(x.s, 1 / (1 + lam))
        y1, y2 = self._on_disc(x)
        low, high = (math.log(square + self.axis_width**2) for square in (0, 1))
        # In the last one, powers of y1 outside a thin neighbourhood of the axis are smooth. All are even in y1.
        return 2 * y1 * y1 - 1, 2 * y2 - 1, 2 * q - 1, (2 * self._off_axis(y1) - low - high) * (1 / (high - low))

    def towards_axis(self, x: SimpleNamespace) -> Any:
        """(y1^2/(1+r^2) + width^2)^(-1/2): how what is carried grows towards the axis, relative to its lift."""
        return (self._off_axis(self._on_disc(x)[0]) * -0.5).exp()

    def _on_disc(self, x: SimpleNamespace) -> tuple[Any, Any]:
        """The point y / sqrt(1 + r^2), inside the unit disc."""
        radius = x.s.exp() * self.radial(x.s, 1.0)
        return x.beta.cos() * radius, x.beta.sin() * radius

    def _off_axis(self, y1: Any) -> Any:
        """The logarithm of the squared distance from the axis, which levels off within ``axis_width``."""
        return (y1 * y1 + self.axis_width**2).log()

    def collocation(self, n: int, generator: torch.Generator) -> Tensor:
        # Sobol points, the first half where r varies, the second in the far field where r^-κ does; denser towards wall
        # and axis, like Chebyshev's, for residuals are largest at the ends.
        seed = int(torch.randint(2**31, (1,), generator=generator))
        u = SobolEngine(2, scramble=True, seed=seed).draw(n, dtype=torch.float64)  # type: ignore[no-untyped-call]
        inside = u[: n // 2, 0].clamp(1e-6, 1 - 1e-6).logit() * 1.4
        outside = FAR * u[n // 2 :, 0].square()
        beta = (1 - (math.pi * u[:, 1]).cos()) * (math.pi / 4)
        return torch.stack([torch.cat([inside, outside]), beta], 1)

    def evaluation(self) -> Tensor:
        s = torch.cat([axis(self.origin, -8.5, 44), axis(-8, 20, 225)])
        return torch.cartesian_prod(s, axis(0, math.pi / 2, 25))

    def grid(self, n: int) -> tuple[Tensor, ...]:
        return axis(-4, 8, n), axis(0, math.pi / 2, n)

    def reference(self) -> Profile | None:
        return stored_profile(self)


def power(base: Any, exponent: Any) -> Any:
    """``base ** exponent`` for tensors and jets; exact for 1, where the base may vanish."""
    return base if isinstance(exponent, float) and exponent == 1 else (base.log() * exponent).exp()
