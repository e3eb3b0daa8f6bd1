"""Continuation: unstable profiles from the stable one, by following the curve of profiles of finite regularity."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from usd_bench.collocation.linear import solve
from usd_bench.collocation.mesh import spanned, transfer
from usd_bench.collocation.piecewise import PiecewiseProfile
from usd_bench.collocation.system import Collocation, Unknowns
from usd_bench.problem import Problem
from usd_bench.profile import Profile
from usd_bench.solver import SolverConfig, State
from usd_solvers.spectral.newton import Row, newton_step
from usd_solvers.spectral.solver import SpectralConfig, SpectralSolver, SpectralState, counted, pack

SETTLING, FOLLOWING, FINISHING = 0, 1, 2
"""Phases: Newton on the starting profile; along the curve; Newton where the parameter has its value."""

CONVERGED = 1e-5
"""Change of the scalars in one Newton step, in units of the arc, below which a point is on the curve."""

BEND = 1.3
"""Longest chord over the step: beyond, Newton has gone to another part of the curve."""

LOST = 3.0
"""Change beyond which Newton is not coming back."""

SHRINKING = 0.1
"""Of the arcs in the parameter, from one order to the next."""

SHORTEST = 1e-4
"""Shortest step along the curve."""

CORRECTIONS = 7
"""Newton steps that a point on the curve may take before the step along it is halved."""


class ContinuationConfig(SpectralConfig):
    """Settings of ``continuation``."""

    parameter: str = Field("exponent", description="what is varied: exponent (the regularity p), or a parameter")
    start: float | None = Field(None, description="its first value, where Newton starts.  [default: exponent: 1]")
    since: int = Field(0, ge=0, description="order of the stored profile on which the curve starts; 0: none is needed")
    step: float = Field(0.3, gt=0, le=2, description="longest step along the curve, in expected distances of orders")


@dataclass(kw_only=True)
class ContinuationState(SpectralState):
    """The spectral state, with the parameter as second scalar while following, and where on the curve it stands."""

    phase: int
    crossings: int
    stride: float
    """Next step along the curve."""
    direction: Tensor
    """Last direction (2,), in units of ``units``."""
    units: Tensor
    """Expected size of the next arc in λ and in the parameter, (2,)."""
    farthest: float
    """Largest distance of the parameter from its value since the last crossing."""
    last: float
    """λ at the last crossing."""


class Continuation(SpectralSolver):
    """Pseudo-arclength continuation in the regularity exponent p, or in another parameter.

    For p near 1 there is a profile with Ω ~ |y|^p at the origin, on one smooth curve in (λ, p). It starts on the
    stable profile, and each return to p = 1 is a smooth profile: order 1, 2, 3, ..., none from a guess. The arcs
    shrink from one return to the next, in p about tenfold, and so do the units in which arclength is measured.
    ``since`` starts on the stored profile of a lower order instead.
    At the return that the problem's order names, Newton's method finishes at p = 1 and the mesh is refined.
    Source: Keller 1977 (pseudo-arclength); docs/mathematics.md (the exponent).
    """

    bibtex: ClassVar[str] = """@incollection{keller1977,
  author = {Keller, Herbert B.},
  title = {Numerical Solution of Bifurcation and Nonlinear Eigenvalue Problems},
  booktitle = {Applications of Bifurcation Theory},
  publisher = {Academic Press},
  pages = {359--384},
  year = {1977},
}"""
    Config: ClassVar[type[SolverConfig]] = ContinuationConfig
    State: ClassVar[type[State]] = ContinuationState
    eval_every: ClassVar[int] = 5
    config: ContinuationConfig

    def supports(self, problem: Problem) -> str | None:
        name = self.config.parameter
        if name not in problem.continuous:
            return f"{name!r} cannot be varied; this problem has {', '.join(problem.continuous) or 'nothing to vary'}"
        if name != "exponent" and self.config.start is None:
            return f"say where {name!r} starts: continuation[parameter={name},start=...]"
        if self.config.start is not None and name in type(problem.parameters).model_fields:
            try:
                type(problem)(**{**problem.parameters.model_dump(), name: self.config.start})
            except ValidationError as error:
                return f"start={self.config.start:g}: {error.errors()[0]['msg']}"
        elif self.config.start is not None and self.config.start <= 0:
            return f"start={self.config.start:g}: the exponent is positive"
        if self.config.since:
            if name != "exponent" or self.config.since >= problem.order:
                return f"since={self.config.since}: the exponent is followed from an order below {problem.order}"
            for order in (self.config.since, self.config.since - 1):
                if problem.at_order(order).reference() is None:
                    return f"since={self.config.since}: there is no stored profile of order {order}"
        return super().supports(problem)

    def init(self, problem: Problem, seed: int, device: str) -> ContinuationState:
        pair = torch.zeros(2, dtype=torch.float64, device=device)
        beginning = self._beginning(problem)
        return ContinuationState(
            phase=SETTLING,
            crossings=self.config.since,
            stride=0.5 * self.config.step,
            direction=pair,
            units=pair + torch.tensor([0.25, 0.1 * SHRINKING**self.config.since], dtype=torch.float64, device=device),
            farthest=0.0,
            last=0.0,
            **self.trial_on_mesh(beginning, device, beginning.reference() if self.config.since else None),
        )

    def step(self, problem: Problem, state: ContinuationState) -> ContinuationState:
        if state.phase == FOLLOWING:
            return self._follow(problem, state)
        if state.phase == FINISHING:
            return self.refine(problem, state)
        following = self.refine(self._beginning(problem), state, self._path_tolerance(state) if problem.order else None)
        return self._depart(problem, following) if following.settled else following

    def profile(self, problem: Problem, state: ContinuationState) -> Profile:
        varied = (self.config.parameter,) if state.phase == FOLLOWING else ()
        return PiecewiseProfile.of(*self.unpack(problem, state, varied))

    # -- along the curve -----------------------------------------------------------------------------------------

    def _beginning(self, problem: Problem) -> Problem:
        """The problem whose profile the curve starts on: the stable one, or that of ``since``."""
        if self._begun is None or self._begun[0] is not problem:
            start = {} if self.config.start is None else {self.config.parameter: self.config.start}
            self._begun = problem, problem.at_order(self.config.since).vary(**start)
        return self._begun[1]

    _begun: tuple[Problem, Problem] | None = None

    def _value(self, problem: Problem) -> float:
        """The parameter's value in the problem."""
        return float(getattr(problem, self.config.parameter))

    def _depart(self, problem: Problem, state: ContinuationState) -> ContinuationState:
        """From the settled starting profile to the curve, or to the finish where there is no way to go."""
        value, start = self._value(problem), self._value(self._beginning(problem))
        wanted = problem.order if self.config.parameter == "exponent" else int(start != value)
        if wanted == 0:
            return replace(state, phase=FINISHING)
        lam = float(state.scalars[0])
        towards = 1.0 if value == start else value - start
        direction = state.direction.new_tensor([0.0, 1.0 if towards > 0 else -1.0])
        scalars = torch.cat([state.scalars, state.scalars.new_tensor([start])])
        state = replace(state, phase=FOLLOWING, settled=0, meshes=0, scalars=scalars, direction=direction, last=lam)
        return self._onwards(problem, state) if self.config.since else state

    def _onwards(self, problem: Problem, state: ContinuationState) -> ContinuationState:
        """From a stored profile away from the order below it, in units of the arc that its tangent lets expect."""
        below = problem.at_order(self.config.since - 1).reference()
        assert below is not None  # or it would not be supported
        gap = state.last - float(below.lam)
        one = torch.ones_like(state.units)
        away = one.new_tensor([math.copysign(1.0, gap), 0.0])
        state = replace(state, units=0.3 * abs(gap) * one, direction=away)
        system, at = self.unpack(problem, state, (self.config.parameter,))
        direction, _ = self._tangent(system, at, state)
        slope = float((direction[1] / direction[0]).abs())
        return replace(state, units=state.units * one.new_tensor([1.0, slope]))

    def _follow(self, problem: Problem, state: ContinuationState) -> ContinuationState:
        """One point further along the curve; a step that does not converge is halved."""
        system, at = self.unpack(problem, state, (self.config.parameter,))
        direction, tangent = self._tangent(system, at, state)
        covector = direction / state.units
        stride, solves = state.stride, 1
        while True:
            goal = float(covector @ at.scalars) + stride
            point, corrections = self._corrected(system, at + tangent * stride, (covector, goal), state)
            solves += corrections
            if point is not None and self._distance(point, at, state) < BEND * stride:
                break
            stride /= 2
            if stride < SHORTEST:
                raise ArithmeticError(
                    f"the curve could not be followed beyond λ = {at.lam:.6g}, {self.config.parameter} = "
                    f"{float(at.scalars[1]):.8g}: Newton's method fails for every step length"
                )
        grown = stride * (1.5 if corrections <= 3 else 1.0 if corrections <= 5 else 0.7)
        state = replace(
            counted(state, solves),
            iteration=state.iteration + 1,
            direction=direction,
            stride=min(grown, self.config.step),
        )
        return self._arrived(problem, state, system, at, point, (covector, goal))

    def _corrected(
        self, system: Collocation, point: Unknowns, row: Row, state: ContinuationState
    ) -> tuple[Unknowns | None, int]:
        """Newton to the point of the curve that meets the row, or None; and the steps taken."""
        last = LOST
        for corrections in range(1, CORRECTIONS + 1):
            following = newton_step(system, point, [row]).unknowns
            change = self._distance(following, point, state)
            point = following
            if change < CONVERGED:
                return point, corrections
            if not change < last:
                break
            last = LOST if corrections == 1 else 0.7 * change
        return None, corrections

    @staticmethod
    def _distance(a: Unknowns, b: Unknowns, state: ContinuationState) -> float:
        """Between the scalars, in units of the arc."""
        return float(((a.scalars - b.scalars) / state.units).norm())

    def _tangent(self, system: Collocation, at: Unknowns, state: ContinuationState) -> tuple[Tensor, Unknowns]:
        """The curve's direction in the plane of the scalars, of unit length in ``units``, and its tangent."""
        linear = system.linearise(at)
        ahead = Unknowns(system.zero(at.scalars).fields, state.direction / state.units)
        none, one = torch.zeros_like(linear.closure), torch.ones_like(linear.closure)
        tangent = solve(
            system,
            linear,
            torch.zeros_like(linear.residual),
            torch.zeros_like(linear.ends),
            [(linear.closure_row, none), (ahead, one)],
        )
        direction = tangent.scalars / state.units
        return direction / direction.norm(), tangent * (1 / float(direction.norm()))

    def _arrived(
        self,
        problem: Problem,
        state: ContinuationState,
        system: Collocation,
        before: Unknowns,
        now: Unknowns,
        row: Row,
    ) -> ContinuationState:
        """The state at a new point of the curve: onwards, or to the finish."""
        value = self._value(problem)
        old, new = (float(u.scalars[1]) - value for u in (before, now))
        wanted = problem.order if self.config.parameter == "exponent" else 1
        if old * new < 0 and state.iteration > 0:
            share = old / (old - new)
            there = before * (1 - share) + now * share
            lam, amplitude = float(there.scalars[0]), max(state.farthest, abs(old))
            units = state.units.new_tensor([0.3 * abs(lam - state.last), 0.3 * amplitude])
            state = replace(state, crossings=state.crossings + 1, last=lam, farthest=0.0, units=units)
            if state.crossings == wanted:
                finish = self.system(problem, spanned(system.mesh, *self.ends(problem, lam)))
                fields = finish.joined(transfer(system.mesh, finish.mesh, there.fields, finish.orders_across(problem)))
                finished = pack(finish, Unknowns(fields, there.scalars[:1]))
                return replace(state, phase=FINISHING, **finished)
        better, there = self.remeshed(system, now, self._path_tolerance(state))
        if better is not system:  # its curve is another one, by the error of either mesh
            corrected, corrections = self._corrected(better, there, row, state)
            state = counted(state, corrections)
            if corrected is not None:
                system, now = better, corrected
        return replace(state, farthest=max(state.farthest, abs(new)), **pack(system, now))

    def _path_tolerance(self, state: ContinuationState) -> float:
        """Fine enough to tell the parameter from its value on the next arc."""
        return min(1e-5, max(self.config.tolerance, 1e-4 * float(state.units[1])))
