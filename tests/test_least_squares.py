"""The parts of least-squares methods: against linear algebra, mpmath, scipy, and their theory."""

from __future__ import annotations

import math

import mpmath
import pytest
import scipy.optimize
import torch
from hypothesis import given
from hypothesis import strategies as st

from usd_solvers.gauss_newton import LINEAR_SOLVERS
from usd_solvers.least_squares.cholesky import BLOCK, Cholesky, lower_gram
from usd_solvers.least_squares.damped import FLOOR
from usd_solvers.least_squares.dogleg import dogleg
from usd_solvers.least_squares.gain import Damping, judge
from usd_solvers.least_squares.kernel import Kernel
from usd_solvers.least_squares.line_search import best_length
from usd_solvers.least_squares.lsmr import LSMR
from usd_solvers.least_squares.momentum import with_momentum
from usd_solvers.least_squares.operator import Operator
from usd_solvers.least_squares.qr import QR
from usd_solvers.least_squares.semi_normal import SemiNormal
from usd_solvers.least_squares.streamed import Streamed
from usd_solvers.least_squares.trust import next_radius

F64 = torch.float64


def random_system(seed: int, rows: int = 30, columns: int = 8):
    generator = torch.Generator().manual_seed(seed)
    jacobian = torch.randn(rows, columns, generator=generator, dtype=F64)
    jacobian *= 2.0 ** torch.arange(columns, dtype=F64).remainder(8).sub(4)  # columns of different size
    return jacobian, torch.randn(rows, generator=generator, dtype=F64)


@pytest.mark.parametrize("solver", LINEAR_SOLVERS.values())
@given(seed=st.integers(0, 1000), exponent=st.floats(-6, 2))
def test_a_damped_step_is_that_of_the_stacked_least_squares_problem(solver, seed: int, exponent: float) -> None:
    """Min ‖J d - b‖² + μ ‖D d‖² by numpy's SVD on [J; √μ D]."""
    jacobian, b = random_system(seed)
    damping = torch.tensor(10.0**exponent, dtype=F64)
    system = solver(jacobian.clone(), damping)
    d = system.minimise(b)
    D = jacobian.norm(dim=0)
    D = torch.maximum(D, math.sqrt(FLOOR) * D.max())
    stacked = torch.cat([jacobian / D, damping.sqrt() * torch.eye(8, dtype=F64)])
    rhs = torch.cat([b, torch.zeros(8, dtype=F64)])
    expected = torch.linalg.lstsq(stacked, rhs, driver="gelsd").solution / D
    assert torch.allclose(d * D, expected * D, rtol=1e-8, atol=1e-8)
    assert system.length(d).item() == pytest.approx((d * D).norm().item(), rel=1e-10)
    assert torch.allclose(system.times(d), jacobian @ d, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", LINEAR_SOLVERS.values())
def test_fewer_rows_than_parameters_give_the_same_step(solver) -> None:
    jacobian, b = random_system(3, rows=5)
    d = solver(jacobian.clone(), torch.tensor(1e-3, dtype=F64)).minimise(b)
    expected = QR(jacobian.clone(), torch.tensor(1e-3, dtype=F64)).minimise(b)
    assert torch.allclose(d, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("solver", [Cholesky, QR, SemiNormal])
def test_one_undamped_step_solves_a_linear_problem(solver) -> None:
    jacobian, b = random_system(1)
    d = solver(jacobian.clone(), torch.tensor(1e-20, dtype=F64)).minimise(b)
    gradient = jacobian.T @ (b - jacobian @ d)
    assert (gradient / jacobian.norm(dim=0)).abs().max().item() < 1e-12


@pytest.mark.parametrize("solver", LINEAR_SOLVERS.values())
def test_a_parameter_without_effect_does_not_move(solver) -> None:
    jacobian, b = random_system(2)
    jacobian[:, 3] = 0
    d = solver(jacobian, torch.tensor(1e-6, dtype=F64)).minimise(b)
    assert d[3].item() == 0
    assert torch.isfinite(d).all()


def test_the_lower_gram_matrix_is_that_of_the_whole_product() -> None:
    a = random_system(4, rows=40, columns=2 * BLOCK + 7)[0]
    expected = (a.T @ a).tril()
    assert torch.allclose(lower_gram(a).tril(), expected, rtol=1e-13, atol=1e-13 * float(expected.abs().max()))


EPS = 2.0**-52


def as_operator(jacobian: torch.Tensor) -> Operator:
    return Operator(
        lambda d: jacobian @ d, lambda b: jacobian.T @ b, lambda: (part.clone() for part in torch.split(jacobian, 7))
    )


@pytest.mark.parametrize("solver", [Streamed, lambda j, mu: LSMR(j, mu, 40)], ids=["streamed", "lsmr"])
@given(seed=st.integers(0, 1000), exponent=st.floats(-6, 2))
def test_without_the_matrix_a_damped_step_is_the_same(solver, seed: int, exponent: float) -> None:
    jacobian, b = random_system(seed)
    damping = torch.tensor(10**exponent, dtype=F64)
    expected, found = QR(jacobian.clone(), damping), solver(as_operator(jacobian), damping)
    d = expected.minimise(b)
    assert found.length(found.minimise(b) - d).item() <= 1e-9 * expected.length(d).item()
    assert torch.allclose(found.times(d), jacobian @ d, rtol=1e-12, atol=0)


@pytest.mark.parametrize("solver", [Cholesky, QR, SemiNormal])
def test_damped_steps_judged_by_their_gain_end_where_scipy_does(solver) -> None:
    """Misra1a, NIST's reference data for nonlinear regression, from the harder of its two starts.

    Not by the kernel form: with more rows than parameters its matrix is singular but for the damping.
    """
    x = [77.6, 114.9, 141.1, 190.8, 239.9, 289.0, 332.8, 378.4, 434.8, 477.3, 536.8, 593.1, 689.1, 760.0]
    y = [10.07, 14.73, 17.94, 23.93, 29.61, 35.18, 40.02, 44.82, 50.76, 55.05, 61.01, 66.40, 75.47, 81.78]
    x, y = torch.tensor(x, dtype=F64), torch.tensor(y, dtype=F64)
    certified = torch.tensor([2.3894212918e2, 5.5015643181e-4], dtype=F64)

    def residual(b: torch.Tensor) -> torch.Tensor:
        return b[0] * -torch.expm1(-b[1] * x) - y

    def jacobian(b: torch.Tensor) -> torch.Tensor:
        return torch.stack([-torch.expm1(-b[1] * x), b[0] * x * torch.exp(-b[1] * x)], 1)

    start = torch.tensor([500.0, 1e-4], dtype=F64)
    b, damping = start, Damping(torch.tensor(1e-2, dtype=F64), torch.tensor(2.0, dtype=F64))
    for _ in range(60):
        r = residual(b)
        system = solver(jacobian(b), damping.value)
        step = system.minimise(-r)
        change = system.times(step)
        reached = residual(b + step).square().sum()
        accept, gain = judge(r @ r, reached, -(2 * r + change) @ change)
        damping = damping.after(accept, gain)
        b = torch.where(accept, b + step, b)
    scipys = scipy.optimize.least_squares(
        lambda t: residual(torch.from_numpy(t)).numpy(),
        start.numpy(),
        jac=lambda t: jacobian(torch.from_numpy(t)).numpy(),
        x_scale="jac",
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    ).x
    assert (b / certified - 1).abs().max().item() < 1e-10
    assert (b / torch.from_numpy(scipys) - 1).abs().max().item() < 1e-10


HILBERT_ROWS, HILBERT_COLUMNS = 20, 12
"""Of 12 columns the condition is 1e16; that of the stacked matrix is about 1/√μ."""

FORMED = [
    (Cholesky, 2, 1e-6),
    (Kernel, 2, 1e-6),
    (QR, 1, 1e-6),
    (SemiNormal, 1, 1e-6),
    (QR, 1, 1e-12),
    (SemiNormal, 1, 1e-12),
    (QR, 1, 1e-20),
    (QR, 1, 1e-26),
]
MATRIX_FREE = [
    (lambda jacobian, mu: Streamed(as_operator(jacobian), mu), 2, 1e-6),
    (lambda jacobian, mu: LSMR(as_operator(jacobian), mu, 60), 1, 1e-6),
]


class Exact:
    """Minimisers on the Hilbert matrix in 80 digits; steps in the scaled parameters y = D d."""

    def __init__(self, damping: float) -> None:
        rows, columns = HILBERT_ROWS, HILBERT_COLUMNS
        self.jacobian = torch.tensor([[1 / (i + j + 1) for j in range(columns)] for i in range(rows)], dtype=F64)
        exact = mpmath.matrix(self.jacobian.tolist())
        square = [sum(exact[i, j] ** 2 for i in range(rows)) for j in range(columns)]
        self.scale = [mpmath.sqrt(max(value, FLOOR * max(square))) for value in square]
        self.scaled = mpmath.matrix(rows, columns)
        for i in range(rows):
            for j in range(columns):
                self.scaled[i, j] = exact[i, j] / self.scale[j]
        self.gram = self.scaled.T * self.scaled + mpmath.mpf(damping) * mpmath.eye(columns)

    def damped(self, b: mpmath.matrix) -> mpmath.matrix:
        return mpmath.lu_solve(self.gram, self.scaled.T * b)

    def with_momentum(self, b: mpmath.matrix, kept: mpmath.matrix) -> mpmath.matrix:
        return kept + self.damped(b - self.scaled * kept)

    def dogleg(self, b: mpmath.matrix, radius: float) -> mpmath.matrix:
        downhill = self.scaled.T * b
        along = self.scaled * downhill
        cauchy = downhill * (dot(downhill, downhill) / dot(along, along))
        newton = self.damped(b)
        if mpmath.norm(newton) <= radius:
            return newton
        if mpmath.norm(cauchy) >= radius:
            return downhill * (radius / mpmath.norm(downhill))
        t = mpmath.findroot(lambda t: mpmath.norm(cauchy + t * (newton - cauchy)) - radius, (0, 1), solver="anderson")
        return cauchy + t * (newton - cauchy)

    def error(self, d: torch.Tensor, y: mpmath.matrix) -> float:
        """‖D (d − truth)‖ relative to the truth."""
        found = mpmath.matrix([mpmath.mpf(value) * scale for value, scale in zip(d.tolist(), self.scale, strict=True)])
        return float(mpmath.norm(found - y) / mpmath.norm(y))


def dot(a: mpmath.matrix, b: mpmath.matrix) -> mpmath.mpf:
    return (a.T * b)[0]


@pytest.mark.parametrize(("solver", "power", "damping"), FORMED + MATRIX_FREE)
@pytest.mark.parametrize("direction", ["damped", "momentum", "dogleg within", "dogleg bent", "dogleg downhill"])
def test_on_a_hilbert_matrix_a_step_loses_what_theory_says_against_mpmath(solver, power, damping, direction) -> None:
    """Errors: c κ^power ε, relative; the kernel form of the dogleg heads for the same minimiser."""
    b = torch.cos(torch.arange(HILBERT_ROWS, dtype=F64)) * 1e-3
    with mpmath.workdps(80):
        exact = Exact(damping)
        b = b + exact.jacobian.sum(1)
        right = mpmath.matrix(b.tolist())
        system = solver(exact.jacobian.clone(), torch.tensor(damping, dtype=F64))
        if direction == "momentum":
            before = torch.linspace(-1, 1, HILBERT_COLUMNS, dtype=F64)
            d = with_momentum(system, b, before, 0.9)
            kept = mpmath.matrix([mpmath.mpf(0.9 * v) * s for v, s in zip(before.tolist(), exact.scale, strict=True)])
            truth = exact.with_momentum(right, kept)
        elif direction == "damped":
            d, truth = system.minimise(b), exact.damped(right)
        else:
            size = float(mpmath.norm(exact.damped(right)))
            radius = size * {"dogleg within": 1.01, "dogleg bent": 0.99, "dogleg downhill": 1e-3}[direction]
            d = dogleg(system, b, torch.tensor(radius, dtype=F64))
            truth = exact.dogleg(right, radius)
        error = exact.error(d, truth)
    condition = min(4 / math.sqrt(damping), 1e17)
    assert error <= 30 * condition**power * EPS


@given(seed=st.integers(0, 1000), exponent=st.floats(-3, 3))
def test_a_dogleg_stays_in_its_region_and_descends(seed: int, exponent: float) -> None:
    jacobian, b = random_system(seed)
    system = QR(jacobian.clone(), torch.tensor(1e-20, dtype=F64))
    radius = torch.tensor(10.0**exponent, dtype=F64)
    d = dogleg(system, b, radius)
    assert system.length(d).item() <= 10.0**exponent * (1 + 1e-9)
    assert (jacobian @ d - b).norm() < b.norm()


def test_momentum_keeps_what_the_rows_say_nothing_about() -> None:
    jacobian, b = random_system(5)
    jacobian[:, 2:] = 0
    before = torch.arange(8, dtype=F64)
    d = with_momentum(QR(jacobian, torch.tensor(1e-12, dtype=F64)), b, before, 0.5)
    assert torch.equal(d[2:], 0.5 * before[2:])


@pytest.mark.parametrize(
    ("gain", "length", "expected"),
    [(0.1, 2.0, 0.5), (math.nan, 2.0, 0.5), (-3.0, 0.4, 0.1), (0.5, 2.0, 2.0), (0.9, 2.0, 6.0), (0.9, 0.1, 2.0)],
)
def test_the_trusted_radius_follows_the_gain(gain: float, length: float, expected: float) -> None:
    radius, length, gain = (torch.tensor(value, dtype=F64) for value in (2.0, length, gain))
    assert next_radius(radius, length, gain).item() == pytest.approx(expected)


def test_the_best_length_is_that_of_the_least_finite_loss() -> None:
    like = torch.zeros((), dtype=F64)
    length, loss = best_length(lambda t: torch.where(t > 0.6, torch.nan, (t - 0.2) ** 2), like)
    assert (length.item(), loss.item()) == (0.25, pytest.approx(0.0025))
    length, loss = best_length(lambda t: t * math.nan, like)
    assert (length.item(), loss.item()) == (0.0, math.inf)


@pytest.mark.parametrize(
    ("decrease", "predicted", "accepted", "factor"),
    [
        (1.0, 1.0, True, 1 / 3),  # as predicted: full reduction
        (0.5, 1.0, True, 1.0),  # half: as it is
        (0.1, 1.0, True, 1 + 0.8**3),  # poor: raised, still accepted
        (-1.0, 1.0, False, 4.0),  # worse: rejected, raised by the running factor
        (math.nan, 1.0, False, 4.0),
        (1.0, -1.0, False, 4.0),  # a factorisation that failed predicts nonsense
        (-1e-12, 1e-12, True, 1 / 3),  # both lost in the rounding of the loss: the prediction is believed
        (-1e-9, 1e-12, False, 4.0),
    ],
)
def test_the_gain_ratio_test_follows_nielsen(decrease, predicted, accepted, factor) -> None:
    damping = Damping(torch.tensor(1e-3, dtype=F64), torch.tensor(4.0, dtype=F64))
    loss, reached, expected = (torch.tensor(value, dtype=F64) for value in (10.0, 10.0 - decrease, predicted))
    accept, gain = judge(loss, reached, expected)
    after = damping.after(accept, gain)
    assert bool(accept) is accepted
    assert after.value.item() == pytest.approx(1e-3 * factor)
    assert after.raise_by.item() == (2.0 if accepted else 8.0)
