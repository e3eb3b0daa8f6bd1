"""The Constantin-Lax-Majda equation: vortex stretching alone, solved exactly."""

from __future__ import annotations

from pydantic import Field as Checked

from usd_bench.problem import ProblemParameters
from usd_problems.gclm import GCLM


class CLM(GCLM):
    """Constantin-Lax-Majda ω_t = ω Hω: ``gclm`` without advection (a = 0). Exact: Ω = -4y / (y^2 + 4), λ = 0.

    Source: Constantin, Lax & Majda, Comm. Pure Appl. Math. 38 (1985) 715.
    """

    class Parameters(ProblemParameters):
        order: int = Checked(0, ge=0, le=0, description="0: the stable profile")

    a = 0.0
    continuous = ("exponent",)
