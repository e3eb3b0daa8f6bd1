"""Gauss-Newton on networks: Levenberg-Marquardt with geodesic acceleration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from usd_bench.problem import Problem
from usd_bench.solver import SolverConfig, State
from usd_solvers.least_squares.cholesky import Cholesky
from usd_solvers.least_squares.damped import DampedLeastSquares, DampedProblem
from usd_solvers.least_squares.dogleg import dogleg
from usd_solvers.least_squares.gain import Damping, judge
from usd_solvers.least_squares.group import size, sum_over_rows
from usd_solvers.least_squares.kernel import Kernel
from usd_solvers.least_squares.line_search import HALVINGS, best_length
from usd_solvers.least_squares.lsmr import LSMR
from usd_solvers.least_squares.momentum import with_momentum
from usd_solvers.least_squares.operator import Operator
from usd_solvers.least_squares.qr import QR
from usd_solvers.least_squares.semi_normal import SemiNormal
from usd_solvers.least_squares.streamed import Streamed
from usd_solvers.least_squares.trust import next_radius
from usd_solvers.pinn.objective import Loss, Objective
from usd_solvers.pinn.solver import NetworkConfig, NetworkSolver, NetworkState

PROBE = 0.1
"""Share of the step at which the residual's curvature along it is measured."""

SLIGHT = 1e-20
"""Damping at which a later stage begins: random features are nearly dependent, and the step must stay finite only."""

NEARLY = 1e-12
"""Damping of the Gauss-Newton step that the dogleg heads for: as little as normal equations bear."""

TRUSTED = 0.75
"""Largest ratio of the correction (half the acceleration) to the velocity, in scaled length, that is believed."""


CORRECTIONS = 2
"""Iterations of each stage after the first: its parameters enter almost linearly."""

ROWS = 6
"""Rows per parameter in those stages, at least."""

LINEAR_SOLVERS: dict[str, type[DampedLeastSquares]] = {
    "cholesky": Cholesky,
    "qr": QR,
    "semi_normal": SemiNormal,
    "kernel": Kernel,
}


MATRIX_FREE = ("streamed", "lsmr")
"""Those that take the Jacobian as an operator."""


class GaussNewtonConfig(NetworkConfig):
    """Settings of ``gauss_newton``."""

    linear_solver: Literal["auto", "cholesky", "qr", "semi_normal", "kernel", "streamed", "lsmr"] = Field(
        "auto",
        description="auto: kernel for fewer rows than parameters, qr in later stages, else cholesky; "
        "without the Jacobian in memory: streamed (cholesky), lsmr (nor its square)",
    )
    chunk: int = Field(
        1000,
        ge=1,
        description="points per block of the Jacobian's rows, which bounds memory beside it; "
        "with nonlocal terms all are one block",
    )
    lsmr_iterations: int = Field(200, ge=1, description="products with the Jacobian and its transpose per solve")
    direction: Literal["damped", "dogleg", "momentum"] = Field(
        "damped",
        description="damped: Levenberg-Marquardt; dogleg: in a trust region; momentum: damped towards a part of the "
        "step before, as in SPRING",
    )
    radius: float = Field(1.0, gt=0, description="initial trust region, in what its parameters change of the rows")
    momentum: float = Field(0.9, ge=0, lt=1, description="the part of the step before")
    line_search: bool = Field(False, description="the best of nine lengths along each step, from 1 down to 1/256")
    loss: Loss = Field(
        "residual",
        description="residual; amplitude: each point divided by the fields' amplitude; gradient: with the residual's",
    )
    damping: float = Field(1e-2, gt=0, description="initial damping, relative to the scaled Gram matrix")
    acceleration: bool = Field(True, description="second-order correction along a damped step")
    stages: int = Field(1, ge=1, le=6, description="1, and how often wide random networks correct the sum so far")
    stage_iterations: int = Field(200, ge=1, description="iterations of the first stage, if others follow")
    wide: int = Field(600, ge=2, description="neurons of a field's network in later stages")

    @model_validator(mode="after")
    def _rows_in_memory(self) -> Self:
        if self.loss != "residual" and self.linear_solver in MATRIX_FREE:
            raise ValueError(
                f"loss={self.loss} combines rows of the Jacobian, which linear_solver={self.linear_solver} never "
                "holds; choose another of the two"
            )
        return self


@dataclass(kw_only=True)
class GaussNewtonState(NetworkState):
    """The network state, the damping with its raising factor, the trusted radius (0-d), and the step before (P,)."""

    damping: Tensor
    raise_by: Tensor
    radius: Tensor
    before: Tensor


class GaussNewton(NetworkSolver):
    """Levenberg-Marquardt on the row-wise Jacobian, with geodesic acceleration.

    Each iteration linearises once, takes the damped Gauss-Newton step v, adds half the acceleration along it,
    and accepts by the gain ratio. All decisions are made on the device. The narrow curved valleys of network
    residuals are what the acceleration is for: on toy_ipm it saves most of the iterations.

    With ``stages`` above 1, wide networks with random hidden layers then correct the sum so far, in two steps each: on
    burgers the first of them takes the residual from 1e-8 to 1e-13.
    Source: Moré 1978; Wang et al. 2025, arXiv:2509.14185, Methods; acceleration: Transtrum & Sethna,
    arXiv:1201.5885, section 3; damping: Nielsen 1999.
    """

    bibtex: ClassVar[str] = """@article{wang2025discovery,
  author = {Wang, Yongji and others},
  title = {Discovery of Unstable Singularities},
  year = {2025},
  eprint = {2509.14185},
  archiveprefix = {arXiv},
}
@article{transtrum2012geodesic,
  author = {Transtrum, Mark K. and Sethna, James P.},
  title = {Improvements to the {Levenberg-Marquardt} algorithm for nonlinear least-squares minimization},
  year = {2012},
  eprint = {1201.5885},
  archiveprefix = {arXiv},
}"""
    Config: ClassVar[type[SolverConfig]] = GaussNewtonConfig
    State: ClassVar[type[State]] = GaussNewtonState
    eval_every: ClassVar[int] = 10
    config: GaussNewtonConfig

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._buffer: Tensor | None = None

    def supports(self, problem: Problem) -> str | None:
        if size() > 1 and problem.nonlocal_terms:
            return "nonlocal terms, whose rows depend on all points; they run in one process"
        if size() > 1 and self.config.linear_solver in ("qr", "kernel"):
            return f"linear_solver={self.config.linear_solver} runs in one process; semi_normal is as accurate"
        if self.config.loss == "gradient" and problem.nonlocal_terms:
            return "loss=gradient takes points between those at which nonlocal terms are known; choose another loss"
        return super().supports(problem)

    def begin(self, **common: Any) -> GaussNewtonState:
        theta: Tensor = common["theta"]
        damping = SLIGHT if len(common["earlier"]) else self.config.damping
        return GaussNewtonState(
            damping=theta.new_tensor(damping),
            raise_by=theta.new_tensor(2.0),
            radius=theta.new_tensor(self.config.radius),
            before=torch.zeros_like(theta),
            **common,
        )

    def _buffer_for(self, objective: Objective, theta: Tensor) -> Tensor:
        """The memory of the last Jacobian, where it serves: fresh pages cost as much as what is written into them."""
        buffer = self._buffer
        if buffer is None or buffer.shape != objective.shape or buffer.device != theta.device:
            self._buffer = buffer = theta.new_empty(objective.shape)
        return buffer

    @property
    def wide(self) -> int:
        return self.config.wide

    @torch.no_grad()
    def step(self, problem: Problem, state: GaussNewtonState) -> GaussNewtonState:
        state = self._staged(problem, state)
        ansatz, theta = self.ansatz(problem, state), state.theta
        x, rng = self.fresh_points(problem, state)

        objective = Objective(self.config.loss, ansatz, theta, x)
        jacobian: Tensor | Operator
        if self.config.linear_solver in MATRIX_FREE:
            r, jacobian = objective.operator(theta, self.config.chunk)
        else:
            r, jacobian = objective.linearise(theta, self._buffer_for(objective, theta), self.config.chunk)
        loss = sum_over_rows(r @ r)
        formed = state.formed | (loss.sqrt() < self.config.release)
        moves = self.lam_moves(problem, formed, state.iteration)
        factors = torch.full_like(theta, objective.weight)
        factors[-1] *= moves
        system = self._system(jacobian, factors, state)
        velocity = self._direction(system, -r, state)
        velocity[-1] *= moves  # rounding over a tiny damping: by QR it is not quite zero
        change = system.times(velocity)

        def loss_at(parameters: Tensor) -> Tensor:
            rows = objective.rows(self.confine(problem, parameters, formed, state.stage))
            return sum_over_rows(rows.square().sum())

        step = velocity
        accelerated = self.config.acceleration and self.config.direction == "damped" and not state.stage
        if accelerated:
            ahead = objective.rows(theta + PROBE * velocity)
            curvature = 2 / PROBE * ((ahead - r) / PROBE - change)
            bend = system.minimise(-0.5 * curvature)
            bend[-1] *= moves
            believed = system.length(bend) <= TRUSTED * system.length(velocity)
            step = velocity + torch.where(believed, bend, 0.0)
        if self.config.line_search:
            length, reached = best_length(lambda length: loss_at(theta + length * step), theta)
            step, change = length * step, length * change
        else:
            reached = loss_at(theta + step)

        accept, gain = judge(loss, reached, sum_over_rows(-(2 * r + change) @ change))
        damping = Damping(state.damping, state.raise_by).after(accept, gain)
        taken = torch.where(accept, step, 0.0)
        work = state.counters
        return replace(
            state,
            iteration=state.iteration + 1,
            theta=self.confine(problem, theta + taken, formed, state.stage),
            points=x,
            rng=rng,
            formed=formed,
            damping=damping.value,
            raise_by=damping.raise_by,
            radius=next_radius(state.radius, system.length(step), gain),
            before=taken,
            counters=replace(
                work,
                residual=work.residual + (HALVINGS + 1 if self.config.line_search else 1) + accelerated,
                jacobian=work.jacobian + 1,
                jvp=work.jvp + system.jvp,
                vjp=work.vjp + system.vjp,
                linear_solve=work.linear_solve + 1 + accelerated,
            ),
        )

    def diagnostics(self, problem: Problem, state: Any) -> Mapping[str, float]:
        """The loss, the damping, and the length of the last step taken."""
        own = {"damping": float(state.damping), "step": float(torch.linalg.vector_norm(state.before))}
        return {**super().diagnostics(problem, state), **own}

    def _bent(self, state: GaussNewtonState) -> bool:
        """Whether steps are doglegs: later stages are linear and want none."""
        return self.config.direction == "dogleg" and not state.stage

    def _direction(self, system: DampedProblem, b: Tensor, state: GaussNewtonState) -> Tensor:
        if self._bent(state):
            return dogleg(system, b, state.radius)
        if self.config.direction == "momentum" and not state.stage:
            return with_momentum(system, b, state.before, self.config.momentum)
        return system.minimise(b)

    def finished(self, state: GaussNewtonState) -> bool:
        return state.stage > 0 and state.stage + 1 == self.config.stages and state.iteration >= self._end(state)

    def _end(self, state: GaussNewtonState) -> int:
        """The iteration at which the stage ends."""
        return self.config.stage_iterations + state.stage * CORRECTIONS

    def _staged(self, problem: Problem, state: GaussNewtonState) -> GaussNewtonState:
        """The state as it is, or where a stage has ended, at the beginning of the next."""
        if state.stage + 1 >= self.config.stages or state.iteration < self._end(state):
            return state
        generator = torch.Generator()
        generator.set_state(state.rng)
        ansatz = self.ansatz(problem, state)
        residual = ansatz.residual(state.theta, state.points)
        added = ansatz.next_stage(state.theta, state.points, residual, self.wide, generator)
        earlier = torch.cat([state.earlier, added])
        size = self.Trial.stacked(problem, self.hidden(problem), self.wide, earlier).size
        number = max(len(state.points), ROWS * size // len(problem.equations))
        points = self.later_points(problem, state, number, residual.abs().sum(0), generator)
        begun = self.begin(
            theta=state.theta.new_zeros(size),
            earlier=earlier,
            points=points.to(state.points.device),
            rng=generator.get_state(),
            formed=torch.ones_like(state.formed),
        )
        return replace(begun, iteration=state.iteration, stage=state.stage + 1, counters=state.counters)

    def _system(self, jacobian: Tensor | Operator, factors: Tensor, state: GaussNewtonState) -> DampedProblem:
        """The damped problem whose Jacobian is the given one with its columns multiplied by ``factors``."""
        damping = torch.full_like(state.damping, NEARLY) if self._bent(state) else state.damping
        if isinstance(jacobian, Operator):
            scaled = jacobian.with_columns(factors)
            if self.config.linear_solver == "lsmr":
                return LSMR(scaled, damping, self.config.lsmr_iterations)
            return Streamed(scaled, damping)
        return self._linear_solver(jacobian, state.stage)(jacobian.mul_(factors), damping)

    def _linear_solver(self, jacobian: Tensor, stage: int) -> type[DampedLeastSquares]:
        if self.config.linear_solver != "auto":
            return LINEAR_SOLVERS[self.config.linear_solver]
        if size() > 1:
            return SemiNormal if stage else Cholesky
        rows, parameters = jacobian.shape
        return Kernel if rows < parameters else QR if stage else Cholesky
