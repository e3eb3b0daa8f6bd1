"""Adam: the first-order baseline, on the same networks, points and residual as Gauss-Newton."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from usd_bench.problem import Problem
from usd_bench.solver import SolverConfig, State
from usd_solvers.pinn.solver import NetworkConfig, NetworkSolver, NetworkState


class AdamConfig(NetworkConfig):
    """Settings of ``adam``."""

    learning_rate: float = Field(1e-3, gt=0, description="step size")


@dataclass(kw_only=True)
class AdamState(NetworkState):
    """The network state and Adam's moments (P,), with their step count (0-d)."""

    first: Tensor
    second: Tensor
    steps: Tensor

    on_cpu: ClassVar[frozenset[str]] = NetworkState.on_cpu | {"steps"}  # torch reads the count on the host


class Adam(NetworkSolver):
    """Adam on the mean squared scaled residual, as implemented in torch.optim.

    Source: Kingma & Ba, arXiv:1412.6980.
    """

    Config: ClassVar[type[SolverConfig]] = AdamConfig
    State: ClassVar[type[State]] = AdamState
    eval_every: ClassVar[int] = 200
    config: AdamConfig

    def begin(self, **common: Any) -> AdamState:
        theta: Tensor = common["theta"]
        zero = torch.zeros_like(theta)
        return AdamState(first=zero, second=zero.clone(), steps=torch.zeros((), dtype=torch.float32), **common)

    def step(self, problem: Problem, state: AdamState) -> AdamState:
        x, rng = self.fresh_points(problem, state)
        theta = state.theta.clone().requires_grad_()
        loss = self.ansatz(problem, state).residual(theta, x).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        assert theta.grad is not None
        formed = state.formed | (loss.detach().sqrt() < self.config.release)
        theta.grad[-1] *= self.lam_moves(problem, formed, state.iteration)

        optimiser = torch.optim.Adam([theta], lr=self.config.learning_rate)
        optimiser.state[theta] = {
            "step": state.steps.clone(),
            "exp_avg": state.first.clone(),
            "exp_avg_sq": state.second.clone(),
        }
        optimiser.step()
        moments = optimiser.state[theta]
        return replace(
            state,
            iteration=state.iteration + 1,
            theta=self.confine(problem, theta.detach(), formed),
            points=x,
            rng=rng,
            formed=formed,
            first=moments["exp_avg"],
            second=moments["exp_avg_sq"],
            steps=moments["step"],
            counters=replace(state.counters, residual=state.counters.residual + 1, vjp=state.counters.vjp + 1),
        )
