"""Burgers' equation: the self-similar profiles before shock formation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from pydantic import Field as Checked
from torch import Tensor

from usd_bench.problem import Bracket, Condition, Field, Problem, ProblemParameters, Recommended, Target, axis
from usd_bench.profile import FunctionProfile, Profile


class Burgers(Problem):
    """Inviscid Burgers u_t + u u_x = 0 at its first singularity, u = (1-t)^λ U(y), y = x / (1-t)^(1+λ).

        -λ U + ((1+λ) y + U) U' = 0,   U odd,   exact: y = -U - C U^(1 + 1/λ)

    The profile is smooth exactly when 1 + 1/λ is an odd integer: λ = 1/m, m = 2n+2 at order n. Coordinates:
    s = ln y and U = -y + y^(m+1) W(s), so that W runs smoothly from W(-∞) = C to W ~ y^(-m), and the equation,
    divided by y^(m+1), is

        λ W_s + (λ m - 1) W + y^m W (W_s + (m+1) W) = 0

    Nothing cancels near the origin, where the derivative of order m+1 decides λ. The scaling symmetry y -> cy
    is a shift in s, fixed by C = 1.
    Source: Eggers & Fontelos, Nonlinearity 22 (2009) R1, section 2.3.
    """

    bibtex = """@article{eggers2009,
  author = {Eggers, Jens and Fontelos, Marco A.},
  title = {The role of self-similarity in singularities of partial differential equations},
  journal = {Nonlinearity},
  volume = {22},
  pages = {R1--R44},
  year = {2009},
}"""
    coords = ("s",)
    fields = (Field("W", "s"),)
    equations = ("transport",)
    recommended = Recommended(points=400, hidden=(16, 16), until={"res_max": 1e-8}, max_time=60.0, grid=256)

    class Parameters(ProblemParameters):
        order: int = Checked(0, ge=0, le=3, description="0 stable; n has n unstable modes")

    def residual(self, u: SimpleNamespace, x: SimpleNamespace, lam: Tensor) -> dict[str, Tensor]:
        m = self._power
        nonlinear = (m * x.s).exp() * u.W * (u.W_s + (m + 1) * u.W)
        return {"transport": lam * u.W_s + (lam * m - 1) * u.W + nonlinear}

    def scale(self, x: SimpleNamespace, lam: Tensor) -> dict[str, Tensor]:
        return {"transport": self._decay(x.s)}

    def conditions(self) -> tuple[Condition, ...]:
        origin = axis(self._origin, self._origin, 1)[:, None]
        return (
            Condition("W -> 1 at the origin", "normalisation", origin, lambda u, x, lam: u.W - 1),
            Condition(
                "λ = 1/(2n+2): U is smooth", "admissibility", origin, lambda u, x, lam: lam * self._power - 1 + 0 * u.W
            ),
        )

    def features(self, x: SimpleNamespace, lam: Tensor) -> tuple[Any, ...]:
        return 2 * self._decay(x.s) - 1, 2 * self._speed(x.s, lam) + 1

    def lift(self, raw: dict[str, Any], x: SimpleNamespace, lam: Tensor) -> dict[str, Any]:
        # U/y = speed (1 + O(raw)): -1 at the origin, ~ -y^(-κ) far out. In W that is (1 + speed) / y^m + ...
        speed = self._speed(x.s, lam)
        base = self._speed_above_minus_one(x.s, lam) * (-self._power * x.s).exp()
        return {"W": base - self._decay(x.s) * speed * (raw["W"] + 1 - 1 / (1 + lam) / self._power)}

    @property
    def pins(self) -> dict[str, tuple[float, ...]]:
        return {"W": (self._origin,)}

    def extent(self, lam: float) -> tuple[tuple[float, float], ...]:
        return ((self._origin - 2, 14.0),)  # beyond, -1 hides U/y in y^m W

    def collocation(self, n: int, generator: torch.Generator) -> Tensor:
        # Half the points where y^m varies, half in the far field where y^-κ does; one in each equal share of both.
        u = (torch.arange(n) + torch.rand(n, generator=generator, dtype=torch.float64)) / n
        near, far = u[::2], u[1::2]
        return torch.cat([near.logit() * 2 / self._power, -2 * torch.log1p(-far)])[:, None]

    def evaluation(self) -> Tensor:
        return torch.cat([axis(self._origin, 0, 720), axis(0.01, 12, 800)])[:, None]

    def grid(self, n: int) -> tuple[Tensor, ...]:
        return (axis(-12 / self._power, 8, n),)

    @property
    def target(self) -> Target:
        return Target(1 / self._power, 16, "exact: 1/(2n+2)")

    @property
    def bracket(self) -> Bracket:
        low, high = 1 / (self._power + 1), 1 / (self._power - 1)  # half way to the neighbours, in 1/λ
        return Bracket(low, (low + high) / 2, high, hold=False)

    def reference(self) -> Profile:
        return FunctionProfile(1 / self._power, lambda x: {"W": self._exact(x[:, 0])})

    @property
    def _power(self) -> int:
        """M = 1/λ: the first power of y in 1 + U/y."""
        return 2 * self.order + 2

    @property
    def _origin(self) -> float:
        """An s so far left that y^m is below rounding."""
        return -37.0 / self._power

    def _decay(self, s: Any) -> Any:
        """1 / (1 + y^m)."""
        return (-self._power * s).sigmoid()

    def _speed_above_minus_one(self, s: Any, lam: Tensor) -> Any:
        """1 - (1 + y^m)^(-κ/m), accurate where it is small."""
        return -((self._power * s).exp().log1p() * (-1 / (1 + lam) / self._power)).expm1()

    def _speed(self, s: Any, lam: Tensor) -> Any:
        """-(1 + y^m)^(-κ/m)."""
        return self._speed_above_minus_one(s, lam) - 1

    def _exact(self, s: Tensor) -> Tensor:
        """W of the exact profile: with U = -y e^L, L + ln(1 + e^(m (s + L))) = 0 and W = e^(m L) e^L.

        The equation for L is convex and increasing, so Newton's method converges monotonically after its first step.
        """
        m = self._power
        log = -(m * s).exp().log1p() / (m + 1)  # right at both ends
        for _ in range(6):  # errors are squared: 0.03, 1e-3, 3e-6, 2e-11, 1e-22; their derivatives lag by one step
            z = m * (s + log)
            log = log - (log + z.exp().log1p()) / (1 + m * z.sigmoid())
        return ((m + 1) * log).exp()  # 1 - e^L = y^m e^((m+1) L), so nothing cancels
