"""The base of solvers whose descent is a torch optimiser's, on the networks layer by layer and λ."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from usd_bench.problem import Problem
from usd_bench.solver import State
from usd_solvers.pinn import memory
from usd_solvers.pinn.solver import NetworkSolver, NetworkState


@dataclass(kw_only=True)
class DescentState(NetworkState):
    """The network state and what the optimiser remembers."""

    memory: dict[str, Tensor]


class Descent(NetworkSolver):
    """The mean squared scaled residual, descended by one step of the optimiser an iteration."""

    State: ClassVar[type[State]] = DescentState
    eval_every: ClassVar[int] = 200

    @abstractmethod
    def optimiser(self, parameters: list[Tensor], iteration: int) -> torch.optim.Optimizer:
        """The optimiser of this iteration. ``parameters``: weights (out, in), biases (out,) of every layer, λ (1,)."""

    def begin(self, **common: Any) -> DescentState:
        return DescentState(memory={}, **common)

    def step(self, problem: Problem, state: DescentState) -> DescentState:
        x, rng = self.fresh_points(problem, state)
        ansatz = self.ansatz(problem, state)
        parameters = [part.clone().requires_grad_() for part in ansatz.parts(state.theta)]
        optimiser = memory.recalled(self.optimiser(parameters, state.iteration), state.memory)
        losses: list[Tensor] = []

        def closure() -> Tensor:
            optimiser.zero_grad()
            theta = torch.cat([part.flatten() for part in parameters])
            loss = ansatz.residual(theta, x).square().mean()
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            lam = parameters[-1]
            assert lam.grad is not None
            lam.grad *= self.lam_moves(problem, self._formed(state, losses[0]), state.iteration)
            return loss

        optimiser.step(closure)  # type: ignore[arg-type]
        formed = self._formed(state, losses[0])
        theta = torch.cat([part.detach().flatten() for part in parameters])
        work = state.counters
        return replace(
            state,
            iteration=state.iteration + 1,
            theta=self.confine(problem, theta, formed),
            points=x,
            rng=rng,
            formed=formed,
            memory=memory.of(optimiser),
            counters=replace(work, residual=work.residual + len(losses), vjp=work.vjp + len(losses)),
        )

    def _formed(self, state: DescentState, loss: Tensor) -> Tensor:
        return state.formed | (loss.sqrt() < self.config.release)
