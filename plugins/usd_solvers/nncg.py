"""NysNewton-CG: Newton's method, its linear systems by conjugate gradients with a Nyström preconditioner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from usd_bench.problem import Problem
from usd_bench.solver import SolverConfig, State
from usd_solvers.least_squares.line_search import HALVINGS, best_length
from usd_solvers.pinn.solver import NetworkConfig, NetworkSolver, NetworkState

Times = Callable[[Tensor], Tensor]
"""A symmetric matrix as its product with a vector (P,)."""


class NNCGConfig(NetworkConfig):
    """Settings of ``nncg``."""

    resample: int = Field(10**6, ge=1, description="iterations between two draws of the points")
    rank: int = Field(60, ge=1, description="columns of the sketch")
    refresh: int = Field(20, ge=1, description="iterations between two sketches")
    damping: float = Field(1e-4, gt=0, description="added to the Hessian's diagonal")
    cg_iterations: int = Field(200, ge=1, description="most products with the Hessian per step")
    cg_tolerance: float = Field(1e-8, gt=0, description="relative residual at which a system counts as solved")


@dataclass(kw_only=True)
class NNCGState(NetworkState):
    """The network state and the sketch: orthonormal columns (P, rank) and eigenvalues (rank,)."""

    basis: Tensor
    values: Tensor


class NNCG(NetworkSolver):
    """Damped Newton-CG on the mean squared scaled residual, with the Hessian by automatic differentiation.

    Source: Rathore, Lei, Frangella, Lu & Udell, arXiv:2402.01868, algorithm 4; the sketch: Frangella, Tropp & Udell,
    SIAM J. Matrix Anal. Appl. 44 (2023) 718, algorithm 2.1.
    """

    bibtex: ClassVar[str] = """@inproceedings{rathore2024challenges,
  author = {Rathore, Pratik and Lei, Weimu and Frangella, Zachary and Lu, Lu and Udell, Madeleine},
  title = {Challenges in Training {PINNs}: A Loss Landscape Perspective},
  booktitle = {International Conference on Machine Learning},
  year = {2024},
  eprint = {2402.01868},
  archiveprefix = {arXiv},
}"""
    Config: ClassVar[type[SolverConfig]] = NNCGConfig
    State: ClassVar[type[State]] = NNCGState
    config: NNCGConfig

    def begin(self, **common: Any) -> NNCGState:
        empty = common["theta"].new_zeros(0)
        return NNCGState(basis=empty[:, None], values=empty, **common)

    def step(self, problem: Problem, state: NNCGState) -> NNCGState:
        x, rng = self.fresh_points(problem, state)
        generator = torch.Generator()
        generator.set_state(rng)
        ansatz = self.ansatz(problem, state)
        theta = state.theta.clone().requires_grad_()
        loss = ansatz.residual(theta, x).square().mean()
        (slope,) = torch.autograd.grad(loss, theta, create_graph=True)
        formed = state.formed | (loss.detach().sqrt() < self.config.release)
        free = torch.ones_like(state.theta)
        free[-1] = self.lam_moves(problem, formed, state.iteration)
        products = 0

        def times(v: Tensor) -> Tensor:
            nonlocal products
            products += 1
            return free * torch.autograd.grad(slope, theta, free * v, retain_graph=True)[0]

        gradient = free * slope.detach()
        basis, values = state.basis, state.values
        if state.iteration % self.config.refresh == 0:
            basis, values = sketched(times, len(theta), self.config.rank, generator, state.theta)
        direction = solved(times, -gradient, basis, values, self.config)
        direction = torch.where(direction @ gradient < 0, direction, -gradient)

        def at(length: Tensor) -> Tensor:
            return self.confine(problem, state.theta + length * direction, formed)

        with torch.no_grad():
            length, reached = best_length(lambda t: ansatz.residual(at(t), x).square().mean(), state.theta)
        work = state.counters
        return replace(
            state,
            iteration=state.iteration + 1,
            theta=torch.where(reached < loss.detach(), at(length), state.theta),
            points=x,
            rng=generator.get_state(),
            formed=formed,
            basis=basis,
            values=values,
            counters=replace(
                work,
                residual=work.residual + HALVINGS + 2,
                vjp=work.vjp + 1 + 2 * products,
                linear_solve=work.linear_solve + 1,
            ),
        )


def sketched(times: Times, n: int, rank: int, generator: torch.Generator, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nyström's approximation U diag(values) Uᵀ of a matrix: U (n, rank) orthonormal, values (rank,) not negative."""
    test = torch.linalg.qr(torch.randn(n, min(rank, n), generator=generator, dtype=torch.float64))[0].to(like)
    image = torch.stack([times(column) for column in test.T], 1)
    core = test.T @ image
    shift = torch.finfo(like.dtype).eps * torch.linalg.matrix_norm(image)
    # Of an indefinite Hessian only the positive part is a preconditioner.
    values, vectors = torch.linalg.eigh((core + core.T) / 2)
    root = vectors * values.clamp_min(shift).rsqrt() * (values > shift)
    basis, size, _ = torch.linalg.svd(image @ root, full_matrices=False)
    return basis, size.square()


def solved(times: Times, b: Tensor, basis: Tensor, values: Tensor, config: NNCGConfig) -> Tensor:
    """(H + damping)⁻¹ b by preconditioned conjugate gradients, until the tolerance or where curvature is negative."""
    smallest = values.min() if len(values) else values.new_zeros(())

    def preconditioned(v: Tensor) -> Tensor:
        inside = basis.T @ v
        scaled = (smallest + config.damping) / (values + config.damping)
        return v + basis @ ((scaled - 1) * inside)

    x, r = torch.zeros_like(b), b
    z = preconditioned(r)
    p, rz = z, r @ z
    goal = config.cg_tolerance * float(torch.linalg.vector_norm(b))
    for _ in range(config.cg_iterations):
        hp = times(p) + config.damping * p
        curvature = p @ hp
        if not float(curvature) > 0:
            break
        length = rz / curvature
        x, r = x + length * p, r - length * hp
        if float(torch.linalg.vector_norm(r)) <= goal:
            break
        z = preconditioned(r)
        rz, before = r @ z, rz
        p = z + rz / before * p
    return x
