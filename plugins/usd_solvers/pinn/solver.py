"""The base of network solvers: trial functions, random points, and when λ may move."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import BeforeValidator, Field, PlainSerializer
from torch import Tensor

from usd_bench.problem import Problem
from usd_bench.profile import Profile
from usd_bench.solver import Solver, SolverConfig, State
from usd_solvers.pinn.ansatz import Ansatz, NetworkProfile


def _widths(value: Any) -> Any:
    """``"16x16"`` as ``(16, 16)``: a comma would start a grid in a selector."""
    if isinstance(value, str):
        if not re.fullmatch(r"\d+(x\d+)*", value):
            raise ValueError("expected widths joined by x, as in 16x16")
        return tuple(int(part) for part in value.split("x"))
    return value


Widths = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...],
    BeforeValidator(_widths),
    PlainSerializer(lambda widths: "x".join(str(width) for width in widths)),
]


class NetworkConfig(SolverConfig):
    """Settings that every network solver has. None means: as the problem recommends."""

    hidden: Widths | None = Field(None, description="layer widths of each field's network, as in 16x16")
    points: int | None = Field(None, ge=8, description="collocation points")
    resample: int = Field(5, ge=1, description="iterations between two draws of the points")
    release: float = Field(3e-3, gt=0, description="rms scaled residual below which λ is free")


@dataclass(kw_only=True)
class NetworkState(State):
    """Parameters with λ last (P,), the points in use (N, d), the generator that draws them, and λ's freedom."""

    theta: Tensor
    earlier: Tensor
    """What ``Ansatz.stacked`` takes of earlier stages; empty in the first."""
    points: Tensor
    rng: Tensor
    stage: int = 0
    """Stages that have ended."""
    formed: Tensor
    """Whether the profile has formed, so that λ is free (bool, 0-d)."""

    on_cpu: ClassVar[frozenset[str]] = frozenset({"rng"})


class NetworkSolver(Solver):
    """A solver whose trial functions are networks. Subclasses add a descent."""

    Config: ClassVar[type[SolverConfig]] = NetworkConfig
    State: ClassVar[type[State]] = NetworkState
    config: NetworkConfig

    def supports(self, problem: Problem) -> str | None:
        if problem.nonlocal_terms:
            return f"nonlocal terms ({', '.join(problem.nonlocal_terms)}), which network solvers do not compute yet"
        return None

    def init(self, problem: Problem, seed: int, device: str) -> Any:
        generator = torch.Generator().manual_seed(seed)
        theta = Ansatz(problem, self._hidden(problem)).initial(generator, device)
        points = problem.collocation(self.config.points or problem.recommended.points, generator).to(device)
        return self.begin(
            theta=theta,
            points=points,
            rng=generator.get_state(),
            formed=torch.zeros((), dtype=torch.bool, device=device),
            earlier=theta[:0],
        )

    @abstractmethod
    def begin(self, **common: Any) -> Any:
        """The solver's own state around the common fields."""

    def profile(self, problem: Problem, state: NetworkState) -> Profile:
        return NetworkProfile(problem, self._hidden(problem), self.wide, state.theta, state.earlier)

    def restore(self, problem: Problem, lam: float, tensors: Mapping[str, Tensor]) -> Profile:
        return NetworkProfile(problem, self._hidden(problem), self.wide, tensors["theta"], tensors["earlier"])

    def ansatz(self, problem: Problem, earlier: Tensor) -> Ansatz:
        return Ansatz.stacked(problem, self._hidden(problem), self.wide, earlier)

    @property
    def wide(self) -> int:
        """Neurons of networks in later stages, for methods that have any."""
        return 0

    def _hidden(self, problem: Problem) -> tuple[int, ...]:
        return self.config.hidden or problem.recommended.hidden

    def fresh_points(self, problem: Problem, state: NetworkState) -> tuple[Tensor, Tensor]:
        """Points and generator state for the next iteration: drawn anew every ``resample`` iterations."""
        if state.iteration == 0 or state.iteration % self.config.resample:
            return state.points, state.rng
        generator = torch.Generator()
        generator.set_state(state.rng)
        points = problem.collocation(len(state.points), generator)
        return points.to(state.points.device), generator.get_state()

    def confine(self, problem: Problem, theta: Tensor, formed: Tensor) -> Tensor:
        """``theta`` with λ inside the problem's bracket until the profile has formed, then as it is. In place."""
        bracket = problem.bracket
        theta[-1] = torch.where(formed, theta[-1], theta[-1].clamp(bracket.low, bracket.high))
        return theta


def lam_is_free(problem: Problem, formed: Tensor) -> Tensor:
    """1.0 where λ may move, else 0.0: held at the guess only where the problem asks for it."""
    return formed.to(torch.float64) if problem.bracket.hold else torch.ones_like(formed, dtype=torch.float64)
