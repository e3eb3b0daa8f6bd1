"""The generalised Constantin-Lax-Majda equation: vortex stretching against advection, in one dimension."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from pydantic import Field as Checked
from torch import Tensor

from usd_bench.problem import Bracket, Condition, Field, ProblemParameters, Recommended, Target, axis
from usd_bench.profile import FunctionProfile, Profile
from usd_problems.half_line import ORIGIN, HalfLine

A_CRITICAL = 0.6890665337007457
"""Where c_l = 0 (Lushnikov, Silantyev & Siegel 2021): above, profiles have compact support."""


class GCLM(HalfLine):
    """Generalised Constantin-Lax-Majda ω_t + a u ω_x = ω Hω, u_x = Hω: blow-up with ω odd, smooth at 0.

    ω = Ω(y) / (1-t), y = x / (1-t)^(1+λ); the literature's c_l is 1 + λ:

        Ω + ((1+λ) y + a U) Ω' = Ω HΩ,     U' = HΩ,     U(0) = 0

    In s = ln y with Ω = y^p G, U = y V, W = HΩ:

        G + (1 + λ + a V) (G_s + p G) - G W = 0

    At the origin G -> -1 (normalisation) and W -> (1 + p (1+λ)) / (1 - p a) (admissibility: it returns p = 1, a
    smooth profile, where otherwise every λ has a solution like |y|^p). Far out Ω ~ y^(-1/(1+λ)), which becomes
    exponential decay as 1 + λ -> 0. Exact: a = 0 and a = 1/2.
    Source: Okamoto, Sakajo & Wunsch, Nonlinearity 21 (2008) 2447; Lushnikov, Silantyev & Siegel, arXiv:2010.01201.
    """

    bibtex = """@article{lushnikov2021,
  author = {Lushnikov, Pavel M. and Silantyev, Denis A. and Siegel, Michael},
  title = {Collapse versus blow-up and global existence in the generalized {Constantin-Lax-Majda} equation},
  journal = {Journal of Nonlinear Science},
  volume = {31},
  pages = {82},
  year = {2021},
  eprint = {2010.01201},
  archiveprefix = {arXiv},
}"""
    fields = (Field("G", "s"),)
    equations = ("vorticity",)
    evolution: ClassVar[dict[str, str]] = {"vorticity": "G"}
    time_power: ClassVar[dict[str, int]] = {"G": 1}
    continuous: ClassVar[tuple[str, ...]] = ("exponent", "a")
    a: float
    recommended = Recommended(points=1000, hidden=(24, 24), until={"res_max": 1e-8}, max_time=300.0, grid=256)

    class Parameters(ProblemParameters):
        order: int = Checked(0, ge=0, le=0, description="0: the stable profile")
        a: float = Checked(0.5, ge=-1, le=A_CRITICAL, description="weight of advection; -1: ccf, 0: clm")

    def residual(self, u: SimpleNamespace, x: SimpleNamespace, lam: Tensor) -> dict[str, Tensor]:
        speed = 1 + lam + self.a * u.V
        return {"vorticity": u.G + speed * (u.G_s + self.exponent * u.G) - u.G * u.W}

    def scale(self, x: SimpleNamespace, lam: Tensor) -> dict[str, Tensor]:
        return {"vorticity": self._envelope(x.s, lam)}

    def conditions(self) -> tuple[Condition, ...]:
        origin = axis(ORIGIN, ORIGIN, 1)[:, None]
        return (
            Condition("G -> -1 at the origin", "normalisation", origin, lambda u, x, lam: u.G + 1),
            Condition(
                "HΩ(0) = (1 + p (1+λ)) / (1 - p a)",
                "admissibility",
                origin,
                lambda u, x, lam: u.W - self._gradient(lam),
            ),
        )

    def features(self, x: SimpleNamespace, lam: Tensor) -> tuple[Any, ...]:
        square = (2 * x.s).sigmoid()  # y^2 / (1 + y^2)
        return 2 * square - 1, 2 * self._far(x.s, lam) - 1

    def lift(self, raw: dict[str, Any], x: SimpleNamespace, lam: Tensor) -> dict[str, Any]:
        return {"G": -(self._envelope(x.s, lam) * (raw["G"] + 1))}

    @property
    def pins(self) -> dict[str, tuple[float, ...]]:
        return {"G": (ORIGIN,)}

    def extent(self, lam: float) -> tuple[tuple[float, float], ...]:
        rate = max(1 + lam, 1e-12)
        length = float(self._length(torch.tensor(lam)))
        return ((ORIGIN - 2, math.log(math.expm1(60 * rate) / rate) / 2 + math.log(length)),)

    def evaluation(self) -> Tensor:
        far = min(16.07, self.extent(self.bracket.guess)[0][1] - 0.5)  # where the envelope is still above rounding
        return torch.cat([axis(ORIGIN, -6.5, 60), axis(-6.43, far, 1126)])[:, None]

    @property
    def target(self) -> Target | None:
        known = {
            0.0: Target(0.0, 16, "exact: c_l = 1, Constantin, Lax & Majda 1985"),
            0.5: Target(1 / 3 - 1, 16, "exact: c_l = 1/3, Chen 2020, arXiv:1905.06841; Lushnikov et al. 2021"),
            A_CRITICAL: Target(-1.0, 16, "c_l = 0: Lushnikov, Silantyev & Siegel 2021, arXiv:2010.01201"),
        }
        return known.get(self.a)

    @classmethod
    def known(cls) -> list[dict[str, Any]]:
        if "a" not in cls.Parameters.model_fields:
            return super().known()
        return [{"a": a} for a in (-1.0, -0.5, 0.0, 0.25, 0.5, 0.6, 0.68, A_CRITICAL)]

    @property
    def bracket(self) -> Bracket:
        # c_l to a few per cent: a quadratic times its zero, through a = -1, 0, 1/2.
        rate = max((1 - self.a / A_CRITICAL) * (1 + 0.323 * self.a + 0.213 * self.a**2), 0.02)
        return Bracket(0.7 * rate - 1.03, rate - 1, 1.4 * rate - 0.97, hold=True)

    def reference(self) -> Profile | None:
        if self.a == 0:
            return FunctionProfile(0.0, lambda x: {"G": -1 / (1 + ((2 * x[:, 0]).exp() / 4))})
        if self.a == 0.5:
            v = 16 / 3  # from HΩ(0) = 8/3
            return FunctionProfile(1 / 3 - 1, lambda x: {"G": -1 / (1 + (2 * x[:, 0]).exp() / v**2) ** 2})
        return super().reference()

    def _envelope(self, s: Any, lam: Tensor) -> Any:
        """-G of the zero trial, z = y/L: (1+z^2)^(-(p+1)/2) (1 + c_l z^2)^(1/2 - 1/(2 c_l)); a Gaussian as c_l -> 0."""
        square = (2 * s - 2 * torch.log(self._length(lam))).exp()
        rate = _positive(1 + lam)
        return (square.log1p() * (-(self.exponent + 1) / 2) + (square * rate).log1p() * (0.5 - 0.5 / rate)).exp()

    def _far(self, s: Any, lam: Tensor) -> Any:
        """(1 + c_l z^2)^(-1/(2 c_l)) ~ y^-κ, in powers of which the far field goes."""
        square = (2 * s - 2 * torch.log(self._length(lam))).exp()
        rate = _positive(1 + lam)
        return ((square * rate).log1p() * (-0.5 / rate)).exp()

    def _length(self, lam: Tensor) -> Tensor:
        """L: such that the zero trial has HΩ(0) of its admissible value, to a few per cent (by quadrature)."""
        length: Tensor = self._gradient(lam) * 1.91 * torch.exp(-0.65 * (1 + lam))
        return length

    def _gradient(self, lam: Any) -> Any:
        """HΩ at the origin, for which Ω grows there like |y|^p."""
        return (1 + self.exponent * (1 + lam)) / (1 - self.exponent * self.a)


def _positive(rate: Tensor) -> Tensor:
    """c_l, or instead of zero a rate so small that what decays like y^(-1/c_l) is a Gaussian to rounding."""
    return rate + 1e-16 * (rate == 0).to(rate.dtype)
