"""Hessian-free optimisation: truncated Gauss-Newton steps by products with the Jacobian alone."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from usd_bench.solver import SolverConfig
from usd_solvers.gauss_newton import GaussNewton, GaussNewtonConfig


class HessianFreeConfig(GaussNewtonConfig):
    """Settings of ``hessian_free``: those of ``gauss_newton`` with other defaults."""

    linear_solver: Literal["lsmr"] = Field("lsmr", description="the Krylov method")
    lsmr_iterations: int = Field(50, ge=1, description="products with the Jacobian and its transpose per step")
    damping: float = Field(1.0, gt=0, description="initial damping, relative to the scaled Gram matrix")
    acceleration: bool = Field(False, description="second-order correction along the step")


class HessianFree(GaussNewton):
    """Truncated Gauss-Newton: damping by the gain ratio, diagonal preconditioning, a fixed number of Krylov iterations.

    By LSMR, which is MINRES on the normal equations where Martens has conjugate gradients: the same Krylov space.
    Source: Martens, Deep learning via Hessian-free optimization, ICML 2010.
    """

    bibtex: ClassVar[str] = """@inproceedings{martens2010hessianfree,
  author = {Martens, James},
  title = {Deep learning via {Hessian}-free optimization},
  booktitle = {International Conference on Machine Learning},
  year = {2010},
}"""
    Config: ClassVar[type[SolverConfig]] = HessianFreeConfig
    config: HessianFreeConfig
