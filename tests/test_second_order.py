"""Second-order baselines: each on what theory says it solves, and on burgers."""

from __future__ import annotations

import pytest
import torch

from usd_bench.metrics import RES_L2, measure
from usd_bench.registry import Registry
from usd_problems.burgers import Burgers
from usd_solvers.engd import ENGD, ENGDConfig
from usd_solvers.hessian_free import HessianFree
from usd_solvers.least_squares.cholesky import Cholesky
from usd_solvers.least_squares.kernel import Kernel
from usd_solvers.nncg import NNCG, NNCGConfig, sketched, solved
from usd_solvers.pinn.objective import Objective
from usd_solvers.random_features import RandomFeatures
from usd_solvers.scipy_least_squares import ScipyLeastSquares, ScipyLeastSquaresConfig
from usd_solvers.spring import SPRING, SPRINGConfig

F64 = torch.float64
METHODS = {
    "engd": (ENGD, {}, 40, 1e-3),
    "spring": (SPRING, {"batch": 40}, 300, 0.05),
    "hessian_free": (HessianFree, {}, 60, 0.02),
    "nncg": (NNCG, {"rank": 30}, 60, 0.05),
    "random_features": (RandomFeatures, {"wide": 60}, 25, 1e-4),
    "scipy_least_squares": (ScipyLeastSquares, {"evaluations": 100}, 2, 0.1),
}
"""Solver, settings, iterations, and by what factor the held-out residual falls at least."""


@pytest.mark.parametrize("name", METHODS)
def test_the_residual_of_burgers_falls(name: str) -> None:
    cls, settings, steps, factor = METHODS[name]
    points = {} if name == "spring" else {"points": 150}
    layers = {} if name == "random_features" else {"hidden": "8x8"}
    problem, solver = Burgers(), cls(cls.Config(**layers, **points, **settings))
    state = solver.init(problem, 0, "cpu")
    before = RES_L2.compute(measure(problem, solver.profile(problem, state)))
    for _ in range(steps):
        state = solver.step(problem, state)
    assert RES_L2.compute(measure(problem, solver.profile(problem, state))) < factor * before


@pytest.mark.parametrize("solver", [Cholesky, Kernel])
@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_without_marquardts_scaling_the_damping_is_that_of_ridge_regression(solver, shape) -> None:
    generator = torch.Generator().manual_seed(1)
    jacobian, b = (
        torch.randn(*shape, generator=generator, dtype=F64),
        torch.randn(shape[0], generator=generator, dtype=F64),
    )
    found = solver(jacobian.clone(), torch.tensor(0.1, dtype=F64), marquardt=False).minimise(b)
    gram = jacobian.T @ jacobian + 0.1 * torch.eye(shape[1], dtype=F64)
    assert torch.allclose(found, torch.linalg.solve(gram, jacobian.T @ b), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("points", [200, 20])
def test_a_natural_gradient_is_the_gradient_in_the_metric_of_the_residual(points: int) -> None:
    """Also in kernel form, for 20 rows and more parameters: the step is one of nine lengths of (JᵀJ + μ)⁻¹ Jᵀ r."""
    problem, solver = Burgers(), ENGD(ENGDConfig(hidden="6x5", points=points, damping=1e-3))
    state = solver.init(problem, 0, "cpu")
    objective = Objective("residual", solver.ansatz(problem, state), state.theta, state.points)
    r, jacobian = objective.linearise(state.theta)
    jacobian = objective.weight * jacobian
    gram = jacobian.T @ jacobian + 1e-3 * torch.eye(len(state.theta), dtype=F64)
    expected = -torch.linalg.solve(gram, jacobian.T @ r)
    taken = solver.step(problem, state).theta - state.theta
    length = (taken @ expected) / (expected @ expected)
    assert length.item() == pytest.approx(2.0 ** torch.log2(length).round().item(), rel=1e-9)
    assert (taken - length * expected).abs().max().item() < 1e-9


def test_a_long_step_of_spring_is_shortened() -> None:
    problem, solver = Burgers(), SPRING(SPRINGConfig(hidden="6x5", batch=20, longest=1e-3, damping=1e-12))
    state = solver.init(problem, 0, "cpu")
    assert len(state.points) == 20
    after = solver.step(problem, state)
    assert (after.theta - state.theta).norm().item() == pytest.approx(1e-3)


def spectrum_of(values: torch.Tensor) -> torch.Tensor:
    q = torch.linalg.qr(torch.randn(len(values), len(values), generator=torch.Generator().manual_seed(3), dtype=F64))[0]
    return q * values @ q.T


def test_a_sketch_finds_a_matrix_of_its_rank_exactly() -> None:
    matrix = spectrum_of(torch.cat([torch.logspace(0, -4, 6, dtype=F64), torch.zeros(34, dtype=F64)]))
    basis, values = sketched(lambda v: matrix @ v, 40, 10, torch.Generator().manual_seed(0), matrix)
    assert (basis * values @ basis.T - matrix).abs().max().item() < 1e-11
    assert (basis.T @ basis - torch.eye(10)).abs().max().item() < 1e-10


def test_the_preconditioner_saves_products_with_an_ill_conditioned_matrix() -> None:
    matrix = spectrum_of(torch.cat([torch.logspace(5, 1, 20, dtype=F64), torch.linspace(1, 2, 60, dtype=F64)]))
    b, counts = torch.ones(80, dtype=F64), []
    config = NNCGConfig(damping=1e-6, cg_iterations=1000, cg_tolerance=1e-9)
    for rank in (25, 1):
        basis, values = sketched(lambda v: matrix @ v, 80, rank, torch.Generator().manual_seed(0), matrix)
        count = 0

        def times(v: torch.Tensor) -> torch.Tensor:
            nonlocal count
            count += 1
            return matrix @ v

        x = solved(times, b, basis, values, config)
        assert (matrix @ x - b).norm().item() < 1e-6 * b.norm().item()
        counts.append(count)
    assert counts[0] < counts[1] / 2


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_scipys_methods_go_on_from_where_they_were(method: str) -> None:
    problem = Burgers()
    solver = ScipyLeastSquares(ScipyLeastSquaresConfig(hidden="8", points=60, method=method))
    state = solver.init(problem, 0, "cpu")
    losses = []
    for _ in range(4):
        losses.append(solver.ansatz(problem, state).residual(state.theta, state.points).square().mean().item())
        if not solver.finished(state):
            state = solver.step(problem, state)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.1 * losses[0]
    assert state.counters.residual > 20


def test_lm_with_fewer_rows_than_parameters_says_so() -> None:
    solver = ScipyLeastSquares(ScipyLeastSquaresConfig(hidden="8x8", points=20, method="lm"))
    problem = Registry.load().get("problems", "burgers").load()()
    with pytest.raises(ValueError, match="at least as many rows"):
        solver.step(problem, solver.init(problem, 0, "cpu"))
