"""The Hou-Luo model: the 3-D Euler equations on the wall, in one dimension."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from pydantic import Field as Checked
from torch import Tensor

from usd_bench.problem import Bracket, Condition, Field, ProblemParameters, Recommended, Target, axis
from usd_problems.half_line import ORIGIN, HalfLine

SOURCE = "anshM123/Fluids-Research, not peer reviewed"
PUBLISHED = {
    order: Target(lam, digits, SOURCE)
    for order, (lam, digits) in enumerate(
        (
            (1.9987042, 8),
            (1.4476747, 8),
            (1.2867648, 8),
            (1.2109164, 8),
            (1.16668059, 8),
            (1.13772677, 8),
            (1.11731019, 8),
            (1.10214553, 8),
            (1.09044036, 8),
            (1.08113374, 7),
            (1.07355524, 6),
        )
    )
}


class HouLuo(HalfLine):
    """Hou-Luo ω_t + u ω_x = θ_x, θ_t + u θ_x = 0, u_x = Hω: ω odd, θ even, smooth at 0.

    y = x / (1-t)^(1+λ), ω = Ω / (1-t), θ = Θ (1-t)^(λ-1):

        Ω + v y Ω' = Θ',    v y Θ' = (λ-1) Θ,    v = 1 + λ + U/y,    U' = HΩ

    In s = ln y with Ω = y^p G, Θ = y^(p+1) T, V = U/y:

        G + v (G_s + p G) = T_s + (p+1) T,       v (T_s + (p+1) T) = (λ-1) T

    At the origin G -> 1 (normalisation) and V = W -> v0 - 1 - λ with v0 = (λ-1)/(p+1) (admissibility), so that
    T -> (1 + p v0)/(p+1). Far out Ω ~ y^(-κ), Θ ~ y^((λ-1)κ), κ = 1/(1+λ).
    Source: Luo & Hou, PNAS 111 (2014) 12968; Chen, Hou & Huang, Ann. PDE 8 (2022) 24.
    """

    bibtex = """@article{chen2022houluo,
  author = {Chen, Jiajie and Hou, Thomas Y. and Huang, De},
  title = {Asymptotically self-similar blowup of the {Hou-Luo} model for the {3D} {Euler} equations},
  journal = {Annals of PDE},
  volume = {8},
  pages = {24},
  year = {2022},
  eprint = {2106.05422},
  archiveprefix = {arXiv},
}"""
    fields = (Field("G", "s"), Field("T", "s"))
    equations = ("vorticity", "temperature")
    evolution: ClassVar[dict[str, str]] = {"vorticity": "G", "temperature": "T"}
    time_power: ClassVar[dict[str, int]] = {"G": 1, "T": 2}
    continuous = ("exponent",)
    recommended = Recommended(points=1000, hidden=(24, 24), until={"res_max": 1e-8}, max_time=300.0, grid=256)

    class Parameters(ProblemParameters):
        order: int = Checked(0, ge=0, le=10, description="0 stable; n has n unstable modes")

    def residual(self, u: SimpleNamespace, x: SimpleNamespace, lam: Tensor) -> dict[str, Tensor]:
        p = self.exponent
        v = 1 + lam + u.V
        slope = u.T_s + (p + 1) * u.T  # Θ' / y^p
        return {
            "vorticity": u.G + v * (u.G_s + p * u.G) - slope,
            "temperature": v * slope - (lam - 1) * u.T,
        }

    def scale(self, x: SimpleNamespace, lam: Tensor) -> dict[str, Tensor]:
        vorticity, temperature = self._envelopes(x.s, lam)
        return {"vorticity": vorticity, "temperature": temperature}

    def conditions(self) -> tuple[Condition, ...]:
        origin = axis(ORIGIN, ORIGIN, 1)[:, None]
        return (
            Condition("G -> 1 at the origin", "normalisation", origin, lambda u, x, lam: u.G - 1),
            Condition(
                "HΩ(0) = (λ-1)/(p+1) - 1 - λ",
                "admissibility",
                origin,
                lambda u, x, lam: u.W + 1 + lam - self._speed(lam),
            ),
        )

    def features(self, x: SimpleNamespace, lam: Tensor) -> tuple[Any, ...]:
        square = (2 * x.s).sigmoid()  # y^2 / (1 + y^2)
        return 2 * square - 1, 2 * _decay(x.s, 1 / (1 + lam)) - 1

    def lift(self, raw: dict[str, Any], x: SimpleNamespace, lam: Tensor) -> dict[str, Any]:
        vorticity, temperature = self._envelopes(x.s, lam)
        top = (1 + self.exponent * self._speed(lam)) / (self.exponent + 1)
        return {"G": vorticity * (raw["G"] + 1), "T": temperature * (raw["T"] + top)}

    @property
    def pins(self) -> dict[str, tuple[float, ...]]:
        return {"G": (ORIGIN,), "T": (ORIGIN,)}

    def extent(self, lam: float) -> tuple[tuple[float, float], ...]:
        return ((ORIGIN - 2, 37.0 * (1 + lam)),)

    def evaluation(self) -> Tensor:
        return torch.cat([axis(ORIGIN, -6.5, 60), axis(-6.43, 16.07, 1126)])[:, None]

    @property
    def target(self) -> Target | None:
        return PUBLISHED.get(self.order)

    @property
    def bracket(self) -> Bracket:
        # A rounded fit 1 + 1/(1.235 n + 1) of the published values, and half way to the neighbours.
        low, guess, high = (1 + 1 / (1.235 * max(self.order + shift, -0.4) + 1) for shift in (0.5, 0.0, -0.5))
        return Bracket(low, guess, high, hold=True)

    def _speed(self, lam: Any) -> Any:
        """V at the origin, for which Θ grows there like |y|^(p+1)."""
        return (lam - 1) / (self.exponent + 1)

    def _envelopes(self, s: Any, lam: Tensor) -> tuple[Any, Any]:
        p, kappa = self.exponent, 1 / (1 + lam)
        return _decay(s, p + kappa), _decay(s, p + 1 - (lam - 1) * kappa)


def _decay(s: Any, power: Any) -> Any:
    """(1 + y^2)^(-power/2)."""
    return ((2 * s).exp().log1p() * (-power / 2)).exp()
