"""The base of quasi-Newton solvers: a full inverse Hessian, and a line search by the strong Wolfe conditions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import scipy.optimize
import torch
from pydantic import Field
from torch import Tensor

from usd_bench.problem import Problem
from usd_bench.solver import SolverConfig, State
from usd_solvers.pinn.solver import NetworkConfig, NetworkSolver, NetworkState
from usd_solvers.quasi_newton.update import Update, updated

LARGEST = 6000
"""Parameters beyond which the inverse Hessian is refused: it takes 8 P² bytes, and more for every update."""

Objective = Callable[[Tensor], tuple[float, Tensor]]
"""Loss and gradient (P,) at parameters (P,)."""


class QuasiNewtonConfig(NetworkConfig):
    """Settings that every quasi-Newton solver has."""

    resample: int = Field(10**6, ge=1, description="iterations between draws of the points, which spoil the Hessian")


@dataclass(kw_only=True)
class QuasiNewtonState(NetworkState):
    """The network state, the inverse Hessian (P, P), the loss before the last step, and whether no step is left."""

    inverse: Tensor
    before: float = math.inf
    stuck: int = 0


class QuasiNewton(NetworkSolver):
    """The mean squared scaled residual, descended along -Hg. Subclasses give the update of H."""

    Config: ClassVar[type[SolverConfig]] = QuasiNewtonConfig
    State: ClassVar[type[State]] = QuasiNewtonState
    eval_every: ClassVar[int] = 50
    update: ClassVar[Update]
    config: QuasiNewtonConfig

    def supports(self, problem: Problem) -> str | None:
        size = self.Trial(problem, self.hidden(problem)).size
        if size > LARGEST:
            return f"{size} parameters; a full inverse Hessian is refused beyond {LARGEST}"
        return super().supports(problem)

    def begin(self, **common: Any) -> QuasiNewtonState:
        return QuasiNewtonState(inverse=torch.zeros(0, 0).to(common["theta"]), **common)

    def finished(self, state: QuasiNewtonState) -> bool:
        return bool(state.stuck)

    def step(self, problem: Problem, state: QuasiNewtonState) -> QuasiNewtonState:
        x, rng = self.fresh_points(problem, state)
        ansatz = self.ansatz(problem, state)
        formed, evaluations = state.formed, 0

        def objective(theta: Tensor) -> tuple[float, Tensor]:
            nonlocal evaluations
            evaluations += 1
            at = theta.detach().requires_grad_()
            loss = ansatz.residual(at, x).square().mean()
            (gradient,) = torch.autograd.grad(loss, at)
            gradient[-1] *= self.lam_moves(problem, formed, state.iteration)
            return float(loss.detach()), gradient

        loss, gradient = objective(state.theta)
        formed = formed | (torch.tensor(loss).sqrt() < self.config.release).to(formed.device)
        theta, inverse, stuck = self.advance(objective, state.theta, loss, gradient, state)
        return replace(
            state,
            iteration=state.iteration + 1,
            theta=self.confine(problem, theta.clone(), formed),
            points=x,
            rng=rng,
            formed=formed,
            inverse=inverse,
            before=loss,
            stuck=int(stuck),
            counters=replace(
                state.counters,
                residual=state.counters.residual + evaluations,
                vjp=state.counters.vjp + evaluations,
            ),
        )

    def advance(
        self, objective: Objective, theta: Tensor, loss: float, gradient: Tensor, state: QuasiNewtonState
    ) -> tuple[Tensor, Tensor, bool]:
        """Parameters and H after one step, and whether there was none to be found along the steepest descent either."""
        inverse = state.inverse
        first = not len(inverse)
        if not first:
            found = searched(objective, theta, -(inverse @ gradient), loss, gradient, state.before)
            first = found is None  # the model has failed: begin again
        if first:
            inverse = torch.eye(len(theta)).to(theta)
            found = searched(objective, theta, -gradient, loss, gradient, math.inf)
        if found is None:
            return theta, inverse, True
        length, after = found
        step = length * -(inverse @ gradient)
        change = after - gradient
        curvature = float(change @ step)
        if first and curvature > 0:  # the identity, scaled by the first step: Nocedal & Wright 2006, eq. (6.20)
            inverse = inverse * (curvature / float(change @ change))
            b = float(step @ step) * float(change @ change) / curvature**2
        else:
            b = -length * float(step @ gradient) / curvature if curvature > 0 else 1.0
        return theta + step, updated(inverse, step, change, b, type(self).update), False


def searched(
    objective: Objective, theta: Tensor, direction: Tensor, loss: float, gradient: Tensor, before: float
) -> tuple[float, Tensor] | None:
    """A length along the direction that satisfies the strong Wolfe conditions, and the gradient there; or None.

    ``before``: the loss one step before, from which the first length is guessed; infinite where there was none.
    """
    if not float(gradient @ direction) < 0:
        return None
    known: dict[bytes, tuple[float, Tensor]] = {}

    def at(point: np.ndarray) -> tuple[float, Tensor]:
        key = point.tobytes()
        if key not in known:
            known[key] = objective(torch.from_numpy(point).to(theta))
        return known[key]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a search that fails says so by its result
        length, *_ = scipy.optimize.line_search(
            lambda point: at(point)[0],
            lambda point: at(point)[1].cpu().numpy(),
            theta.cpu().numpy(),
            direction.cpu().numpy(),
            gradient.cpu().numpy(),
            loss,
            before if math.isfinite(before) else None,
            maxiter=30,
        )
    if length is None:
        return None
    return float(length), at(theta.cpu().numpy() + length * direction.cpu().numpy())[1]
