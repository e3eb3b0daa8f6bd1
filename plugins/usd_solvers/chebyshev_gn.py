"""Gauss-Newton on Chebyshev series instead of networks: what of the accuracy is the trial space, what the method."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field

from usd_bench.jets import Channels
from usd_bench.problem import Problem
from usd_bench.solver import SolverConfig
from usd_solvers.gauss_newton import GaussNewton, GaussNewtonConfig
from usd_solvers.pinn.ansatz import Ansatz
from usd_solvers.pinn.chebyshev import ChebyshevAnsatz, degree_for
from usd_solvers.pinn.solver import Widths

HIGHEST = 60
"""Degree of a series: beyond, second derivatives are those of its last terms."""


class ChebyshevGNConfig(GaussNewtonConfig):
    """Settings of ``chebyshev_gn``: those of ``gauss_newton`` with other defaults, and a degree for widths."""

    hidden: Widths | None = Field(None, max_length=0, description="not used: the trial space is given by degree")
    degree: int | None = Field(
        None, ge=1, le=HIGHEST, description="total degree of each field's series  [default: that of coefficients]"
    )
    coefficients: int = Field(500, ge=4, description="most coefficients of a field, where degree is not given")
    stages: int = Field(1, ge=1, le=1, description="1")
    warm_start: Literal["none"] = Field("none", description="none: the series is zero")
    damping: float = Field(1e-12, gt=0, description="initial damping, relative to the scaled Gram matrix")
    linear_solver: Literal["auto", "cholesky", "qr", "semi_normal", "kernel"] = Field(
        "qr", description="products of polynomials are nearly dependent on the points"
    )


class ChebyshevGN(GaussNewton):
    """Levenberg-Marquardt on the coefficients of tensor Chebyshev series in the problem's features, and λ.

    The same points, rows, damping and acceleration as ``gauss_newton``; fields depend linearly on the coefficients, and
    only the equation bends. Source: Boyd, Chebyshev and Fourier Spectral Methods (2001), chapters 3 and 17 (maps of
    unbounded ranges, which the features are).
    """

    bibtex: ClassVar[str] = """@book{boyd2001,
  author = {Boyd, John P.},
  title = {Chebyshev and {Fourier} Spectral Methods},
  publisher = {Dover},
  edition = {2},
  year = {2001},
}"""
    Config: ClassVar[type[SolverConfig]] = ChebyshevGNConfig
    Trial: ClassVar[type[Ansatz]] = ChebyshevAnsatz
    eval_every: ClassVar[int] = 5
    config: ChebyshevGNConfig

    def hidden(self, problem: Problem) -> tuple[int, ...]:
        """The degree, in the place of widths."""
        if self.config.degree is not None:
            return (self.config.degree,)
        x = torch.zeros(1, len(problem.coords), dtype=torch.float64)
        value = Channels.of(problem.coords, ())
        features = problem.feature_jet(x, torch.ones((), dtype=torch.float64), value).shape[-1]
        return (min(HIGHEST, degree_for(features, self.config.coefficients)),)
