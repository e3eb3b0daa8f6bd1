"""Incompressible porous media in a half plane: the self-similar profiles at the wall."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, ClassVar

from torch import Tensor

from usd_bench.problem import Bracket, Condition, Field, Recommended, Target
from usd_problems.quarter_plane import QuarterPlane, power

PUBLISHED = {
    0: Target(1.0285722760222, 11, "Wang et al. 2025, arXiv:2509.14185; arXiv:2511.22819 prints ...0323"),
    1: Target(0.4721297362414, 9, "Wang et al. 2025, arXiv:2509.14185; arXiv:2511.22819 prints 0.472129736156"),
    2: Target(0.3149620267, 6, "Wang et al. 2025, arXiv:2509.14185; arXiv:2511.22819 prints 0.3149617817"),
    3: Target(0.2415604744, 4, "Wang et al. 2025, arXiv:2509.14185; arXiv:2511.22819 prints 0.24156641"),
    4: Target(0.1987237, 5, "Wang et al. 2025, arXiv:2511.22819"),
    5: Target(0.17061809, 5, "anshM123/Fluids-Research, not peer reviewed"),
    6: Target(0.15092, 4, "anshM123/Fluids-Research, not peer reviewed"),
}
"""λ by order; ``digits`` counts those on which sources agree, or that the only source supports."""

ORIGIN = -30.0
"""An s so far left that r^2 = 1e-26: the limit at the stagnation point, to rounding."""


class IPM(QuarterPlane):
    """Incompressible porous media ρ_t + u·∇ρ = 0, u = -∇p - (0, ρ), in the half plane x2 > 0 with a wall.

    Blow-up at t = 1 with y = x / (1-t)^(1+λ). Density R = r^2 T, stream function ψ = r^2 χ, velocity
    U = (-∂2 ψ, ∂1 ψ), in log-polar coordinates s = ln r, β = atan2(y2, y1) in [0, π/2]; wall at β = 0,
    symmetry axis at β = π/2:

        -λ T + a (T_s + 2 T) + b T_β = 0,                a = 1 + λ - χ_β,  b = 2 χ + χ_s
        χ_ss + 4 χ_s + 4 χ + χ_ββ = -r [cos β (T_s + 2 T) - sin β T_β]

    At the origin T -> cos^2 β / 2 (normalisation) and χ -> A sin 2β with A = (2+λ)/4 (admissibility: without
    it every λ has a non-smooth solution). Far out T ~ r^(λκ-2), χ ~ r^(-κ), κ = 1/(1+λ).
    Source: Wang et al. 2025, arXiv:2509.14185; log-polar form: docs/mathematics.md.
    """

    bibtex = """@article{wang2025discovery,
  author = {Wang, Yongji and others},
  title = {Discovery of Unstable Singularities},
  year = {2025},
  eprint = {2509.14185},
  archiveprefix = {arXiv},
}"""
    fields = (Field("T", "s", "beta"), Field("chi", "s", "beta", "ss", "betabeta"))
    equations = ("transport", "biot_savart")
    evolution: ClassVar[dict[str, str]] = {"transport": "T"}
    time_power: ClassVar[dict[str, int]] = {"T": 1}
    origin = ORIGIN
    axis_width = 0.05
    recommended = Recommended(points=4000, hidden=(28, 28, 28), until={"res_max": 1e-5}, max_time=3600.0, grid=64)

    def residual(self, u: SimpleNamespace, x: SimpleNamespace, lam: Tensor) -> dict[str, Tensor]:
        p = self.exponent
        a, b = 1 + lam - u.chi_beta, 2 * u.chi + u.chi_s  # dilation plus flow: radial, angular
        P = u.T_s + 2 * p * u.T
        gradient = x.beta.cos() * P - x.beta.sin() * u.T_beta  # ∂1 R / r^(2p-1)
        return {
            "transport": -lam * u.T + a * P + b * u.T_beta,
            "biot_savart": u.chi_ss + 4 * u.chi_s + 4 * u.chi + u.chi_betabeta + ((2 * p - 1) * x.s).exp() * gradient,
        }

    def scale(self, x: SimpleNamespace, lam: Tensor) -> dict[str, Tensor]:
        p, kappa = self.exponent, 1 / (1 + lam)
        return {"transport": self.radial(x.s, 2 * p - lam * kappa) / (2 * p), "biot_savart": self.radial(x.s, kappa)}

    def conditions(self) -> tuple[Condition, ...]:
        return (
            Condition(
                "T -> cos²β/2 at the origin",
                "normalisation",
                self.origin_points(),
                lambda u, x, lam: u.T - power(x.beta.cos() ** 2, self.exponent) / (2 * self.exponent),
            ),
            *self.stream_conditions("(2+λ)/4"),
        )

    def lift(self, raw: dict[str, Any], x: SimpleNamespace, lam: Tensor) -> dict[str, Any]:
        p, kappa = self.exponent, 1 / (1 + lam)
        c, s = x.beta.cos(), x.beta.sin()
        return {
            "T": power(c * c, p) * self.radial(x.s, 2 * p - lam * kappa) * (raw["T"] + 1 / (2 * p)),
            "chi": c * s * self.radial(x.s, kappa) * (raw["chi"] + 2 * self.strain(lam)),
        }

    def size(self, x: SimpleNamespace, lam: Tensor) -> dict[str, Any]:
        return {"T": self.towards_axis(x)}

    def strain(self, lam: Any) -> Any:
        """A of χ -> A sin 2β at the origin, for the density to grow there like |y1|^(2p)."""
        return (1 + lam - lam / (2 * self.exponent)) / 2

    def radial(self, s: Any, power: Any) -> Any:
        # Not by log1p: the last bits of published runs of toy_ipm hang on it.
        return ((1 + (2 * s).exp()).log() * (-power / 2)).exp()

    def extent(self, lam: float) -> tuple[tuple[float, float], ...]:
        return (-36.0, 37.0 * (1 + lam)), (0.0, math.pi / 2)

    @property
    def target(self) -> Target | None:
        return PUBLISHED.get(self.order)

    @property
    def bracket(self) -> Bracket:
        low, guess, high = (1 / _inverse_guess(self.order + shift) for shift in (0.5, 0.0, -0.5))
        return Bracket(low, guess, high, hold=True)


class ToyIPM(IPM):
    """The same equation as ``ipm``, sized for a laptop: fewer points, smaller networks, a budget of minutes."""

    recommended: ClassVar[Recommended] = Recommended(
        points=1500, hidden=(12, 12, 12), until={"res_max": 1e-5}, max_time=150.0, grid=32
    )


def _inverse_guess(order: float) -> float:
    """1/λ to a few per cent, by a rounded quadratic through the published values: where to start, no more.

    The fit of Wang et al. 2025, fig. 3b, is closer up to order 3 but leaves the branch's neighbourhood at order 4.
    """
    return 1 + 1.08 * order - 0.025 * order**2
