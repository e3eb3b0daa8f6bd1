"""The base of network solvers: trial functions, random points, and when λ may move."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field, PlainSerializer
from torch import Tensor

from usd_bench.collocation.piecewise import PiecewiseProfile
from usd_bench.collocation.reference import stored_profile
from usd_bench.problem import Problem
from usd_bench.profile import Profile
from usd_bench.solver import Solver, SolverConfig, State
from usd_solvers.pinn.ansatz import Ansatz, NetworkProfile
from usd_solvers.pinn.panels import panel_points, panels_by, panels_of, panels_with, term_matrices
from usd_solvers.pinn.shares import drawn, shares

FUNNEL = 20
"""Iterations from one move of λ to the next, for the strategy of that name."""

CANDIDATES = 4
"""Random points of which one is chosen where points follow the residual."""


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
    sampling: Literal["random", "adaptive"] = Field(
        "random",
        description="adaptive: half of the points where the residual is, of four times as many drawn; local terms only",
    )
    lam: Literal["auto", "fixed", "bounded", "free", "funnel"] = Field(
        "auto",
        description="auto: until the profile has formed within the problem's bracket, at the guess where the problem "
        "asks for that, then free; fixed: never; bounded: free within the bracket; free: from the first iteration; "
        f"funnel: held for profiles to settle, moved in every {FUNNEL}th iteration, within the bracket",
    )
    lam_start: float | None = Field(
        None, gt=-1, description="λ to start from, or to hold  [default: the problem's guess]"
    )
    warm_start: Literal["none", "neighbour", "reference"] = Field(
        "none",
        description="networks that a run starts from: random; fitted to the stored profile one order below; "
        "or to this order's own",
    )
    release: float = Field(3e-3, gt=0, description="rms scaled residual below which the profile has formed")


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
    Trial: ClassVar[type[Ansatz]] = Ansatz
    config: NetworkConfig

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._matrices: tuple[Tensor, dict[str, Tensor]] | None = None

    def supports(self, problem: Problem) -> str | None:
        if len(problem.coords) > 1 and problem.nonlocal_terms:
            return "nonlocal terms in two dimensions; networks here have them in one"
        if self.config.warm_start != "none" and self._known(problem) is None:
            return f"warm_start={self.config.warm_start}, but there is no such stored profile"
        if self.config.sampling == "adaptive" and problem.nonlocal_terms:
            return "sampling=adaptive draws points anew, and those of nonlocal terms stay; choose sampling=random"
        low, high = problem.bracket.low, problem.bracket.high
        start, held_inside = self.config.lam_start, self.config.lam in ("auto", "bounded", "funnel")
        if start is not None and held_inside and not low <= start <= high:
            return f"lam_start={start:g}, but lam={self.config.lam} keeps λ between {low:g} and {high:g}"
        return None

    def _known(self, problem: Problem) -> PiecewiseProfile | None:
        """The stored profile that a warm start asks for, if there is one."""
        if self.config.warm_start == "neighbour":
            return stored_profile(problem.at_order(problem.order - 1)) if problem.order else None
        return stored_profile(problem)

    def init(self, problem: Problem, seed: int, device: str) -> Any:
        generator = torch.Generator().manual_seed(seed)
        ansatz = self.Trial(problem, self.hidden(problem))
        theta = ansatz.initial(generator, "cpu")
        points = self.first_points(problem, self.number(problem), generator)
        if self.config.warm_start != "none":
            known = self._known(problem)
            assert known is not None  # by ``supports``
            theta = ansatz.fitted_to(known, theta, points)
            if self.config.warm_start == "reference":
                theta[-1] = known.lam
        if self.config.lam_start is not None:
            theta[-1] = self.config.lam_start
        theta, points = theta.to(device), points.to(device)
        state = self.begin(
            theta=theta,
            points=points,
            rng=generator.get_state(),
            formed=torch.zeros((), dtype=torch.bool, device=device),
            earlier=theta[:0],
        )
        if problem.nonlocal_terms:
            self._terms(problem, state)  # now: the first step is like the others
        return state

    @abstractmethod
    def begin(self, **common: Any) -> Any:
        """The solver's own state around the common fields."""

    def profile(self, problem: Problem, state: NetworkState) -> Profile:
        return NetworkProfile(self.Trial, problem, self.hidden(problem), self.wide, state.theta, state.earlier)

    def diagnostics(self, problem: Problem, state: Any) -> Mapping[str, float]:
        """The loss at the points in use: the mean square of the scaled residuals."""
        with torch.no_grad():
            residual = self.ansatz(problem, state).residual(state.theta, state.points)
        return {"loss": float(residual.square().mean())}

    def restore(self, problem: Problem, lam: float, tensors: Mapping[str, Tensor]) -> Profile:
        return NetworkProfile(
            self.Trial, problem, self.hidden(problem), self.wide, tensors["theta"], tensors["earlier"]
        )

    def ansatz(self, problem: Problem, state: NetworkState) -> Ansatz:
        """The trial functions of the state's stage, at its points."""
        terms = self._terms(problem, state) if problem.nonlocal_terms else {}
        return self.Trial.stacked(problem, self.hidden(problem), self.wide, state.earlier, terms)

    def number(self, problem: Problem) -> int:
        """How many collocation points there are, about."""
        return self.config.points or problem.recommended.points

    def first_points(self, problem: Problem, number: int, generator: torch.Generator) -> Tensor:
        """About ``number`` collocation points: random, or those of the panels of nonlocal terms."""
        if problem.nonlocal_terms:
            return panel_points(panels_of(problem, number))
        return problem.collocation(number, generator)

    def later_points(
        self, problem: Problem, state: NetworkState, number: int, size: Tensor, generator: torch.Generator
    ) -> Tensor:
        """About ``number`` points for a later stage, half of them where the residual is large: ``size`` (N,) at the
        state's points. Source: Wu, Zhu, Tan, Kartha & Lu, Comput. Methods Appl. Mech. Eng. 403 (2023) 115671.
        """
        if problem.nonlocal_terms:
            return panel_points(panels_by(panels_with(state.points), size, number))
        candidates = problem.collocation(CANDIDATES * number, generator).to(state.points.device)
        found = self.ansatz(problem, state).residual(state.theta, candidates)
        return candidates[drawn(shares(found.abs().sum(0)), number, generator)]

    def _terms(self, problem: Problem, state: NetworkState) -> dict[str, Tensor]:
        """The matrices of the nonlocal terms: computed once a stage, for its points stay as they are."""
        if self._matrices is None or self._matrices[0] is not state.points:
            self.keep_terms(state, term_matrices(problem, state.points))
        assert self._matrices is not None
        return self._matrices[1]

    def keep_terms(self, state: NetworkState, matrices: dict[str, Tensor]) -> None:
        """Keep the matrices of the nonlocal terms for the state's points."""
        self._matrices = state.points, matrices

    @property
    def wide(self) -> int:
        """Neurons of networks in later stages, for methods that have any."""
        return 0

    def hidden(self, problem: Problem) -> tuple[int, ...]:
        return self.config.hidden or problem.recommended.hidden

    def fresh_points(self, problem: Problem, state: NetworkState) -> tuple[Tensor, Tensor]:
        """Points and generator state for the next iteration: drawn anew every ``resample`` iterations."""
        if problem.nonlocal_terms or state.iteration == 0 or state.iteration % self.config.resample:
            return state.points, state.rng
        generator = torch.Generator()
        generator.set_state(state.rng)
        if self.config.sampling == "adaptive":
            points = self.later_points(problem, state, len(state.points), state.points.new_empty(0), generator)
        else:
            points = problem.collocation(len(state.points), generator)
        return points.to(state.points.device), generator.get_state()

    def lam_moves(self, problem: Problem, formed: Tensor, iteration: int) -> Tensor:
        """1.0 where λ may move in this iteration, else 0.0 (0-d)."""
        if self.config.lam == "fixed" or (self.config.lam == "funnel" and (iteration + 1) % FUNNEL):
            return torch.zeros_like(formed, dtype=torch.float64)
        if self.config.lam == "auto" and problem.bracket.hold:
            return formed.to(torch.float64)
        return torch.ones_like(formed, dtype=torch.float64)

    def confine(self, problem: Problem, theta: Tensor, formed: Tensor, stage: int = 0) -> Tensor:
        """``theta`` with λ, which it ends with in the first stage, where the strategy allows it to be. In place."""
        if self.config.lam in ("auto", "bounded", "funnel") and not stage:
            bracket = problem.bracket
            inside = theta[-1].clamp(bracket.low, bracket.high)
            theta[-1] = torch.where(formed, theta[-1], inside) if self.config.lam == "auto" else inside
        return theta
