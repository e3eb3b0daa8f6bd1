"""Boussinesq's equations at a wall, to leading order the axisymmetric 3-D Euler equations at theirs."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, ClassVar

from torch import Tensor

from usd_bench.problem import Bracket, Condition, Field, Recommended, Target
from usd_problems.quarter_plane import QuarterPlane, power

PUBLISHED = {
    0: Target(1.9205599746927, 9, "Wang et al. 2025, arXiv:2509.14185; Chen & Hou, arXiv:2210.07191: 1.9205600"),
    1: Target(1.3990961221852, 8, "Wang et al. 2025, arXiv:2509.14185"),
    2: Target(1.2523487, 6, "anshM123/Fluids-Research; Wang et al. 2025, arXiv:2509.14185 prints 1.2523481636"),
    3: Target(1.1842533, 6, "anshM123/Fluids-Research; Wang et al. 2025, arXiv:2509.14185 prints 1.1842500862"),
    4: Target(1.144985, 7, "anshM123/Fluids-Research, not peer reviewed"),
    5: Target(1.119474, 7, "anshM123/Fluids-Research, not peer reviewed"),
    6: Target(1.101580, 7, "anshM123/Fluids-Research, not peer reviewed"),
    7: Target(1.088339, 6, "anshM123/Fluids-Research, not peer reviewed; the last digit is off: decision 10"),
}
"""λ by order; ``digits`` counts those on which sources agree, or that the only source prints."""

ORIGIN = -36.0


class Boussinesq(QuarterPlane):
    """Inviscid Boussinesq ω_t + u·∇ω = ∂1 θ, θ_t + u·∇θ = 0 in a half plane: ω odd, θ even in y1.

    y = x / (1-t)^(1+λ), ω = Ω / (1-t), θ = Θ (1-t)^(λ-1), velocity U = (-∂2 ψ, ∂1 ψ), Δψ = Ω:

        Ω + ((1+λ) y + U)·∇Ω = ∂1 Θ,      (1-λ) Θ + ((1+λ) y + U)·∇Θ = 0

    In log-polar coordinates s = ln r, β = atan2(y2, y1), with Ω = r^p G, Θ = r^(p+1) T, ψ = r^2 χ:

        G + a (G_s + p G) + b G_β = cos β (T_s + (p+1) T) - sin β T_β,      a = 1+λ-χ_β,  b = 2χ+χ_s
        (1-λ) T + a (T_s + (p+1) T) + b T_β = 0
        χ_ss + 4 χ_s + 4 χ + χ_ββ = r^p G

    At the origin G -> -cos^p β (normalisation), χ -> A sin 2β with A = (1+λ-a0)/2, a0 = (λ-1)/(p+1) (admissibility),
    T -> -(1 + p a0)/(p+1) cos^(p+1) β. Far out Ω ~ r^(-κ), Θ ~ r^((λ-1)κ), κ = 1/(1+λ).
    The axisymmetric 3-D Euler equations at the wall of a cylinder have the same profiles to leading order: see
    docs/mathematics.md. Source: Wang et al. 2022, arXiv:2201.06780; Chen & Hou, arXiv:2210.07191.
    """

    bibtex = """@article{wang2025discovery,
  author = {Wang, Yongji and others},
  title = {Discovery of Unstable Singularities},
  year = {2025},
  eprint = {2509.14185},
  archiveprefix = {arXiv},
}"""
    fields = (Field("G", "s", "beta"), Field("T", "s", "beta"), Field("chi", "s", "beta", "ss", "betabeta"))
    equations = ("vorticity", "temperature", "biot_savart")
    evolution: ClassVar[dict[str, str]] = {"vorticity": "G", "temperature": "T"}
    time_power: ClassVar[dict[str, int]] = {"G": 1, "T": 2}
    origin = ORIGIN
    axis_width = 0.02
    recommended = Recommended(points=4000, hidden=(28, 28, 28), until={"res_max": 1e-5}, max_time=3600.0, grid=64)

    def residual(self, u: SimpleNamespace, x: SimpleNamespace, lam: Tensor) -> dict[str, Tensor]:
        p = self.exponent
        a, b = 1 + lam - u.chi_beta, 2 * u.chi + u.chi_s  # dilation plus flow: radial, angular
        radial = u.T_s + (p + 1) * u.T
        return {
            "vorticity": u.G + a * (u.G_s + p * u.G) + b * u.G_beta - (x.beta.cos() * radial - x.beta.sin() * u.T_beta),
            "temperature": (1 - lam) * u.T + a * radial + b * u.T_beta,
            "biot_savart": u.chi_ss + 4 * u.chi_s + 4 * u.chi + u.chi_betabeta - (p * x.s).exp() * u.G,
        }

    def scale(self, x: SimpleNamespace, lam: Tensor) -> dict[str, Tensor]:
        p, kappa = self.exponent, 1 / (1 + lam)
        return {
            "vorticity": self.radial(x.s, p + kappa),
            "temperature": self.radial(x.s, p + 1 - (lam - 1) * kappa),
            "biot_savart": self.radial(x.s, kappa),
        }

    def conditions(self) -> tuple[Condition, ...]:
        return (
            Condition(
                "G -> -cos β at the origin",
                "normalisation",
                self.origin_points(),
                lambda u, x, lam: u.G + power(x.beta.cos(), self.exponent),
            ),
            *self.stream_conditions("(3+λ)/4"),
        )

    def lift(self, raw: dict[str, Any], x: SimpleNamespace, lam: Tensor) -> dict[str, Any]:
        p, kappa = self.exponent, 1 / (1 + lam)
        c, s = x.beta.cos(), x.beta.sin()
        top = (1 + p * self._expansion(lam)) / (p + 1)
        return {
            "G": power(c, p) * self.radial(x.s, p + kappa) * (raw["G"] - 1),
            "T": c * power(c, p) * self.radial(x.s, p + 1 - (lam - 1) * kappa) * (raw["T"] - top),
            "chi": c * s * self.radial(x.s, kappa) * (raw["chi"] + 2 * self.strain(lam)),
        }

    def size(self, x: SimpleNamespace, lam: Tensor) -> dict[str, Any]:
        return {"G": self.towards_axis(x), "T": self.towards_axis(x)}

    def extent(self, lam: float) -> tuple[tuple[float, float], ...]:
        return (ORIGIN - 2, 37.0 * (1 + lam)), (0.0, math.pi / 2)

    @property
    def target(self) -> Target | None:
        return PUBLISHED.get(self.order)

    @property
    def bracket(self) -> Bracket:
        # Wang et al. 2025, fig. 3b: 1 + 1/(1.4187 n + 1.0863), rounded; half way to the neighbours.
        low, guess, high = (1 + 1 / (1.42 * (self.order + shift) + 1.09) for shift in (0.5, 0.0, -0.5))
        return Bracket(low, guess, high, hold=True)

    def _expansion(self, lam: Any) -> Any:
        """A at the origin towards the wall, for which Θ grows there like |y1|^(p+1)."""
        return (lam - 1) / (self.exponent + 1)

    def strain(self, lam: Any) -> Any:
        """A of χ -> A sin 2β at the origin."""
        return (1 + lam - self._expansion(lam)) / 2


class ToyBoussinesq(Boussinesq):
    """The same equations as ``boussinesq``, sized for a laptop: fewer points, smaller networks, minutes."""

    recommended = Recommended(points=1500, hidden=(12, 12, 12), until={"res_max": 1e-4}, max_time=300.0, grid=32)
