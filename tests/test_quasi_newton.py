"""Quasi-Newton updates against their theory, and the solvers against scipy's BFGS."""

from __future__ import annotations

import math

import pytest
import scipy.optimize
import torch
from hypothesis import given
from hypothesis import strategies as st

from usd_bench.metrics import RES_L2, measure
from usd_bench.registry import Registry
from usd_problems.burgers import Burgers
from usd_solvers.bfgs import BFGS
from usd_solvers.quasi_newton.solver import LARGEST, QuasiNewton, QuasiNewtonState
from usd_solvers.quasi_newton.update import bfgs, ssbfgs, ssbroyden, updated
from usd_solvers.ssbfgs import SSBFGS
from usd_solvers.ssbroyden import SSBroyden

F64 = torch.float64
SOLVERS = [BFGS, SSBFGS, SSBroyden]


def problem_of(seed: int, n: int = 6):
    """A positive definite inverse Hessian H, a step, and the change of gradient of a quadratic along it."""
    generator = torch.Generator().manual_seed(seed)
    a, c = (torch.randn(n, n, generator=generator, dtype=F64) for _ in range(2))
    inverse, hessian = a @ a.T + 0.1 * torch.eye(n), c @ c.T + 0.1 * torch.eye(n)
    s = torch.randn(n, generator=generator, dtype=F64)
    y = hessian @ s
    b = float(s @ torch.linalg.solve(inverse, s) / (y @ s))
    return inverse, s, y, b


@pytest.mark.parametrize("update", [bfgs, ssbfgs, ssbroyden])
@given(seed=st.integers(0, 10**6))
def test_an_update_satisfies_the_secant_equation_and_stays_positive_definite(update, seed: int) -> None:
    inverse, s, y, b = problem_of(seed)
    after = updated(inverse, s, y, b, update)
    assert torch.allclose(after @ y, s, rtol=1e-7, atol=1e-8)
    assert torch.allclose(after, after.T, rtol=1e-10, atol=1e-10)
    assert torch.linalg.eigvalsh(after).min().item() > 0


@given(seed=st.integers(0, 10**6))
def test_bfgs_is_the_product_form(seed: int) -> None:
    inverse, s, y, b = problem_of(seed)
    rho = 1 / (y @ s)
    left = torch.eye(6, dtype=F64) - rho * torch.outer(s, y)
    expected = left @ inverse @ left.T + rho * torch.outer(s, s)
    assert torch.allclose(updated(inverse, s, y, b, bfgs), expected, rtol=1e-8, atol=1e-9 * expected.abs().max().item())


@given(b=st.floats(1e-3, 1e3), excess=st.floats(1e-6, 1e3), n=st.integers(2, 1000))
def test_the_factors_of_ssbroyden_keep_the_matrix_positive(b: float, excess: float, n: int) -> None:
    h = (1 + excess) / b
    tau, phi = ssbroyden(b, h, n)
    assert tau > 0
    assert phi > -1 / excess  # below it the determinant would change its sign
    assert ssbfgs(b, h, n) == (min(1.0, 1 / b), 1.0)


def test_a_step_without_curvature_leaves_the_matrix() -> None:
    inverse, s, y, b = problem_of(1)
    assert torch.equal(updated(inverse, s, -y, b, bfgs), inverse)


def minimised(solver: QuasiNewton, function, start: torch.Tensor, steps: int) -> tuple[torch.Tensor, int]:
    """The point after so many steps or where none is left, and how many were taken."""
    empty = torch.zeros(0, dtype=F64)
    state = QuasiNewtonState(
        theta=start, earlier=empty, points=empty, rng=empty, formed=torch.tensor(True), inverse=torch.zeros(0, 0)
    )

    def objective(theta: torch.Tensor) -> tuple[float, torch.Tensor]:
        at = theta.detach().requires_grad_()
        value = function(at)
        return float(value.detach()), torch.autograd.grad(value, at)[0]

    for taken in range(steps):
        loss, gradient = objective(state.theta)
        if gradient.abs().max().item() < 1e-9:
            return state.theta, taken
        state.theta, state.inverse, stuck = solver.advance(objective, state.theta, loss, gradient, state)
        state.before = loss
        if stuck:
            return state.theta, taken
    return state.theta, steps


def rosenbrock(x: torch.Tensor) -> torch.Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n", [2, 5, 10])
def test_rosenbrocks_function_takes_about_as_many_steps_as_scipys_bfgs(solver, n: int) -> None:
    start = torch.tensor([-1.2, 1.0] * 5, dtype=F64)[:n]
    found, steps = minimised(solver(), rosenbrock, start, 400)
    theirs = scipy.optimize.minimize(
        scipy.optimize.rosen,
        start.numpy(),
        jac=scipy.optimize.rosen_der,
        method="BFGS",
        options={"gtol": 1e-9},
    )
    # Beyond four dimensions there is a second minimum, near -1 in the first coordinate.
    assert torch.func.grad(rosenbrock)(found).abs().max().item() < 1e-6
    assert rosenbrock(found) <= theirs.fun + 1e-12
    assert steps <= 2 * theirs.nit


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_quadratic_takes_few_steps_more_than_its_dimension(solver) -> None:
    scale = torch.logspace(0, 1, 6, dtype=F64)
    found, steps = minimised(solver(), lambda x: (scale * (x - 1).square()).sum(), torch.zeros(6, dtype=F64), 60)
    assert (found - 1).abs().max().item() < 1e-8
    assert steps <= 20


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_residual_of_burgers_falls_by_a_hundred(solver) -> None:
    problem, method = Burgers(), solver(solver.Config(hidden="8x8", points=100))
    state = method.init(problem, 0, "cpu")
    before = RES_L2.compute(measure(problem, method.profile(problem, state)))
    for _ in range(200):
        state = method.step(problem, state)
    assert RES_L2.compute(measure(problem, method.profile(problem, state))) < 1e-2 * before
    assert state.counters.residual > 200


def test_too_many_parameters_are_refused_with_their_number() -> None:
    problem = Registry.load().get("problems", "toy_ipm").load()()
    assert str(LARGEST) in SSBFGS(SSBFGS.Config(hidden="60x60x60")).supports(problem)
    assert SSBFGS().supports(problem) is None


def test_a_run_ends_where_no_step_is_left() -> None:
    start = torch.ones(3, dtype=F64)
    empty = torch.zeros(0, dtype=F64)
    state = QuasiNewtonState(
        theta=start, earlier=empty, points=empty, rng=empty, formed=torch.tensor(True), inverse=torch.zeros(0, 0)
    )
    flat = SSBFGS().advance(
        lambda x: (math.inf, torch.zeros(3, dtype=F64)), start, 0.0, torch.zeros(3, dtype=F64), state
    )
    assert flat[2]
    assert torch.equal(flat[0], start)
