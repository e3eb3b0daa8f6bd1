"""scipy.optimize.least_squares with the Jacobian made here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.optimize
import torch
from pydantic import Field

from usd_bench.problem import Problem
from usd_bench.solver import SolverConfig, State
from usd_solvers.pinn.objective import Objective
from usd_solvers.pinn.solver import NetworkConfig, NetworkSolver, NetworkState


class ScipyLeastSquaresConfig(NetworkConfig):
    """Settings of ``scipy_least_squares``."""

    resample: int = Field(10**6, ge=1, description="iterations between two draws of the points")
    method: Literal["trf", "dogbox", "lm"] = Field("trf", description="trf, dogbox: trust regions; lm: MINPACK's")
    scale: Literal["one", "jacobian"] = Field("one", description="of the parameters; jacobian: by its columns")
    evaluations: int = Field(50, ge=2, description="evaluations of the residual per iteration; then the region is new")


@dataclass(kw_only=True)
class ScipyState(NetworkState):
    """The network state, and whether the method has ended by itself."""

    ended: int = 0


class ScipyLeastSquares(NetworkSolver):
    """``least_squares``, called again from where it has got to: what it remembers is not data, so its trust region
    begins anew with every iteration here. Scaled by the columns of the Jacobian the trust region ends on other branches
    more often: on burgers with two layers of 8, three of six runs stayed at the initial residual, of none without it.

    Source: Branch, Coleman & Li, SIAM J. Sci. Comput. 21 (1999) 1 (trf); Voglis & Lagaris 2004 (dogbox); Moré 1978
    (lm).
    """

    bibtex: ClassVar[str] = """@article{branch1999,
  author = {Branch, Mary Ann and Coleman, Thomas F. and Li, Yuying},
  title = {A Subspace, Interior, and Conjugate Gradient Method for Large-Scale Bound-Constrained Minimization Problems},
  journal = {SIAM Journal on Scientific Computing},
  volume = {21},
  pages = {1--23},
  year = {1999},
}"""
    Config: ClassVar[type[SolverConfig]] = ScipyLeastSquaresConfig
    State: ClassVar[type[State]] = ScipyState
    eval_every: ClassVar[int] = 1
    config: ScipyLeastSquaresConfig

    def begin(self, **common: Any) -> ScipyState:
        return ScipyState(**common)

    def finished(self, state: ScipyState) -> bool:
        return bool(state.ended)

    @torch.no_grad()
    def step(self, problem: Problem, state: ScipyState) -> ScipyState:
        x, rng = self.fresh_points(problem, state)
        ansatz = self.ansatz(problem, state)
        objective = Objective("residual", ansatz, state.theta, x)
        if self.config.method == "lm" and objective.shape[0] < objective.shape[1]:
            shape = "{} rows and {} parameters".format(*objective.shape)
            raise ValueError(f"{shape}; method=lm needs at least as many rows")
        moves = self.lam_moves(problem, state.formed, state.iteration)

        def rows(point: np.ndarray) -> np.ndarray:
            return objective.rows(torch.from_numpy(point).to(state.theta)).cpu().numpy()

        def jacobian(point: np.ndarray) -> np.ndarray:
            found = objective.linearise(torch.from_numpy(point).to(state.theta))[1].mul_(objective.weight)
            found[:, -1] *= moves
            return found.cpu().numpy()

        found = scipy.optimize.least_squares(
            rows,
            state.theta.cpu().numpy(),
            jac=jacobian,
            method=self.config.method,
            x_scale="jac" if self.config.scale == "jacobian" else 1.0,
            ftol=1e-15,
            xtol=1e-15,
            gtol=1e-15,
            max_nfev=self.config.evaluations,
        )
        theta = torch.from_numpy(found.x).to(state.theta)
        theta[-1] = torch.where(moves > 0, theta[-1], state.theta[-1])
        formed = state.formed | (torch.tensor(2 * found.cost).sqrt() < self.config.release).to(theta.device)
        ended = bool(found.status > 0) and bool(torch.equal(formed, state.formed))
        work = state.counters
        njev = found.njev or 0
        return replace(
            state,
            iteration=state.iteration + 1,
            theta=self.confine(problem, theta, formed),
            points=x,
            rng=rng,
            formed=formed,
            ended=int(ended),
            counters=replace(
                work,
                residual=work.residual + found.nfev,
                jacobian=work.jacobian + njev,
                linear_solve=work.linear_solve + njev,
            ),
        )
