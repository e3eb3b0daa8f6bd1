"""Gauss-Newton on networks: what an iteration does, when λ moves, later stages, where points go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from usd_bench.metrics import COND_MAX, RES_MAX, measure
from usd_bench.problem import Problem
from usd_bench.registry import Registry
from usd_problems.burgers import Burgers
from usd_problems.ccf import CCF
from usd_solvers.gauss_newton import CORRECTIONS, ROWS, GaussNewton, GaussNewtonConfig, GaussNewtonState
from usd_solvers.least_squares.gain import Damping, judge
from usd_solvers.least_squares.qr import QR
from usd_solvers.least_squares.trust import next_radius
from usd_solvers.pinn.frequency import median_frequency
from usd_solvers.pinn.objective import Objective
from usd_solvers.pinn.shares import drawn
from usd_solvers.pinn.solver import FUNNEL

F64 = torch.float64


def test_gauss_newton_never_accepts_a_step_that_raises_the_residual() -> None:
    problem, solver = Burgers(), GaussNewton(GaussNewtonConfig(hidden="8x8", points=100, resample=10**6))
    state = solver.init(problem, 0, "cpu")
    ansatz = solver.ansatz(problem, state)
    norms = []
    for _ in range(40):
        norms.append(ansatz.residual(state.theta, state.points).square().sum().item())
        state = solver.step(problem, state)
    assert all(after <= before for before, after in pairwise(norms))
    assert norms[-1] < 1e-3 * norms[0]


def test_a_rejected_step_leaves_the_parameters_and_raises_the_damping() -> None:
    problem, solver = Burgers(), GaussNewton(GaussNewtonConfig(hidden="8x8", points=100, damping=1e-14))
    state = solver.init(problem, 0, "cpu")
    after = solver.step(problem, state)
    if not torch.equal(after.theta, state.theta):
        pytest.fail("expected an undamped first step from random parameters to overshoot")
    assert after.damping > state.damping


def test_lambda_is_held_where_the_problem_asks_for_it() -> None:
    problem = Registry.load().get("problems", "toy_ipm").load()()
    solver = GaussNewton(GaussNewtonConfig(hidden="6x5", points=60))
    state = solver.init(problem, 0, "cpu")
    for _ in range(3):
        state = solver.step(problem, state)
    assert state.theta[-1].item() == problem.bracket.guess
    assert not state.formed


@dataclass
class Linearised:
    """What an iteration that starts from a state should see; the Jacobian has tests of its own."""

    state: GaussNewtonState
    rows: Callable[[Tensor], Tensor]
    r: Tensor
    jacobian: Tensor

    @classmethod
    def at(cls, problem: Problem, solver: GaussNewton, state: GaussNewtonState) -> Linearised:
        ansatz, x = solver.ansatz(problem, state), state.points
        weight = (len(x) * len(problem.equations)) ** -0.5
        r, jacobian = ansatz.linearise(state.theta, x)
        return cls(state, lambda theta: weight * ansatz.residual(theta, x).flatten(), weight * r, weight * jacobian)

    def system(self) -> QR:
        return QR(self.jacobian.clone(), self.state.damping)

    def bend(self, velocity: Tensor) -> tuple[Tensor, float]:
        """Half the acceleration along a velocity, and how long it is beside that."""
        theta, h = self.state.theta, 1e-3
        second = (self.rows(theta + h * velocity) - 2 * self.r + self.rows(theta - h * velocity)) / h**2
        system = self.system()
        bend = system.minimise(-0.5 * second)
        return bend, float(system.length(bend) / system.length(velocity))


def test_a_step_is_the_velocity_and_half_the_acceleration() -> None:
    """By a central difference; the solver's, over a tenth of the step to one side, is good to a few per cent."""
    problem, accepted = Burgers(), 0
    solver = GaussNewton(GaussNewtonConfig(hidden="6x5", points=60, lam="free", resample=10**6))
    state = solver.init(problem, 1, "cpu")
    for _ in range(40):
        seen, after = Linearised.at(problem, solver, state), solver.step(problem, state)
        velocity = seen.system().minimise(-seen.r)
        bend, ratio = seen.bend(velocity)
        taken, state = after.theta - state.theta, after
        if taken.any() and ratio < 0.6:
            accepted += 1
            assert (taken - velocity - bend).norm() < 0.3 * bend.norm()
    assert accepted > 20


def test_an_acceleration_that_is_long_beside_the_velocity_is_not_believed() -> None:
    """Steps that are so bent are mostly rejected; a quarter of their length is then the radius."""
    problem, lengths = Burgers(), []
    for damping in (1e-8, 1e-7, 1e-6, 1e-5):
        solver = GaussNewton(GaussNewtonConfig(hidden="6x5", points=60, lam="free", damping=damping, radius=1e9))
        state = solver.init(problem, 1, "cpu")
        seen, after = Linearised.at(problem, solver, state), solver.step(problem, state)
        velocity = seen.system().minimise(-seen.r)
        if seen.bend(velocity)[1] > 1 and not (after.theta - state.theta).any():
            lengths.append(4 * after.radius.item() / seen.system().length(velocity).item())
    assert len(lengths) > 1
    assert lengths == pytest.approx([1.0] * len(lengths), rel=1e-6)


@pytest.mark.parametrize(
    "setting",
    [
        {"acceleration": False},
        {"line_search": True, "acceleration": False},
        {"direction": "momentum"},
        {"direction": "dogleg"},
    ],
    ids=str,
)
def test_damping_and_radius_follow_the_gain_of_the_step_that_was_taken(setting: dict) -> None:
    problem = Burgers()
    solver = GaussNewton(GaussNewtonConfig(hidden="6x5", points=60, lam="free", resample=10**6, **setting))
    state, accepted = solver.init(problem, 1, "cpu"), 0
    for _ in range(20):
        seen, after = Linearised.at(problem, solver, state), solver.step(problem, state)
        step = after.theta - state.theta
        if step.any():
            accepted += 1
            change = seen.jacobian @ step
            reached = seen.rows(after.theta).square().sum()
            accept, gain = judge(seen.r @ seen.r, reached, -(2 * seen.r + change) @ change)
            expected = Damping(state.damping, state.raise_by).after(accept, gain)
            assert after.damping.item() == pytest.approx(expected.value.item(), rel=1e-5)
            length = seen.system().length(step)
            assert after.radius.item() == pytest.approx(next_radius(state.radius, length, gain).item(), rel=1e-5)
        state = after
    assert accepted > 5


def test_a_rejected_step_is_none_that_momentum_keeps() -> None:
    problem = Burgers()
    solver = GaussNewton(GaussNewtonConfig(hidden="8x8", points=100, damping=1e-14, direction="momentum"))
    after = solver.step(problem, solver.init(problem, 0, "cpu"))
    assert after.damping > 1e-14
    assert not after.before.any()


@pytest.mark.parametrize("setting", [{}, {"line_search": True}, {"acceleration": False}, {"direction": "dogleg"}])
def test_the_work_an_iteration_reports_is_what_it_evaluates(setting: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"rows": 0, "linearise": 0}
    for name in calls:
        real = getattr(Objective, name)

        def counted(*args, name=name, real=real, **kwargs):
            calls[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(Objective, name, counted)
    problem, solver = Burgers(), GaussNewton(GaussNewtonConfig(hidden="6x5", points=60, **setting))
    state = solver.init(problem, 0, "cpu")
    for _ in range(3):
        state = solver.step(problem, state)
    assert (state.counters.residual, state.counters.jacobian) == (calls["rows"], calls["linearise"])


@pytest.mark.parametrize(("points", "chosen"), [(20, "kernel"), (300, "cholesky")])
def test_the_linear_solver_is_chosen_by_shape(points: int, chosen: str) -> None:
    problem, found = Burgers(), []
    for linear_solver in ("auto", chosen):
        solver = GaussNewton(GaussNewtonConfig(hidden="8x8", points=points, linear_solver=linear_solver))
        found.append(solver.step(problem, solver.init(problem, 0, "cpu")).theta)
    assert torch.equal(*found)


def test_points_are_drawn_anew_as_often_as_asked() -> None:
    problem, solver = Burgers(), GaussNewton(GaussNewtonConfig(hidden="6x5", points=60, resample=3))
    state, drawn_at, points = solver.init(problem, 0, "cpu"), [], None
    for i in range(8):
        state = solver.step(problem, state)
        if points is not None and not torch.equal(points, state.points):
            drawn_at.append(i)
        points = state.points
    assert drawn_at == [3, 6]


def test_adaptive_points_lie_where_the_residual_is_large() -> None:
    problem, means = Burgers(), {}
    for sampling in ("random", "adaptive"):
        solver = GaussNewton(GaussNewtonConfig(hidden="6x5", points=400, sampling=sampling, resample=1))
        state = replace(solver.init(problem, 0, "cpu"), iteration=1)
        points, _ = solver.fresh_points(problem, state)
        means[sampling] = solver.ansatz(problem, state).residual(state.theta, points).abs().mean()
    assert means["adaptive"] > 1.2 * means["random"]


def test_a_later_stage_has_rows_enough_for_its_parameters_and_the_run_finishes_after_the_last() -> None:
    problem = Burgers()
    solver = GaussNewton(GaussNewtonConfig(hidden="6x5", points=60, stages=2, stage_iterations=3, wide=50))
    state = solver.init(problem, 0, "cpu")
    for _ in range(3 + CORRECTIONS):
        assert not solver.finished(state)
        state = solver.step(problem, state)
    assert solver.finished(state)
    assert len(state.points) >= ROWS * len(state.theta)
    assert not solver.finished(replace(state, stage=0))


def test_a_profile_has_formed_below_the_residual_of_release() -> None:
    problem = Registry.load().get("problems", "toy_ipm").load()()
    solver = GaussNewton(GaussNewtonConfig(hidden="6x5", points=60))
    state = solver.init(problem, 0, "cpu")
    rms = solver.ansatz(problem, state).residual(state.theta, state.points).square().mean().sqrt().item()
    for release, formed in ((0.99 * rms, False), (1.01 * rms, True)):
        solver = GaussNewton(GaussNewtonConfig(hidden="6x5", points=60, release=release))
        assert bool(solver.step(problem, state).formed) is formed


def test_settings_without_effect_are_refused_with_the_reason() -> None:
    adaptive = GaussNewton(GaussNewtonConfig(sampling="adaptive"))
    assert adaptive.supports(Burgers()) is None
    assert "sampling=adaptive" in adaptive.supports(CCF())
    assert "between 0.33" in GaussNewton(GaussNewtonConfig(lam_start=90)).supports(Burgers())
    assert GaussNewton(GaussNewtonConfig(lam_start=90, lam="free")).supports(Burgers()) is None


@pytest.mark.parametrize(
    ("strategy", "first", "inside"),
    [("auto", 0.0, True), ("fixed", 0.0, True), ("bounded", 1.0, True), ("free", 1.0, False), ("funnel", 0.0, True)],
)
def test_lam_strategies_say_when_it_moves_and_how_far(strategy: str, first: float, inside: bool) -> None:
    problem = Registry.load().get("problems", "toy_ipm").load()()
    solver = GaussNewton(GaussNewtonConfig(hidden="5x4", points=60, lam=strategy))
    formed = torch.zeros((), dtype=torch.bool)
    assert float(solver.lam_moves(problem, formed, 0)) == first
    assert float(solver.lam_moves(problem, ~formed, 0)) == (0.0 if strategy in ("fixed", "funnel") else 1.0)
    assert float(solver.lam_moves(problem, formed, FUNNEL - 1)) == (1.0 if strategy == "funnel" else first)
    theta = torch.tensor([0.3, 99.0], dtype=torch.float64)
    assert float(solver.confine(problem, theta.clone(), formed)[-1]) == (
        99.0 if strategy in ("fixed", "free") else problem.bracket.high
    )
    state = solver.init(problem, 0, "cpu")
    start = float(state.theta[-1])
    for _ in range(3):
        state = solver.step(problem, state)
    assert (float(state.theta[-1]) == start) is (first == 0.0)
    assert inside is False or problem.bracket.low <= float(state.theta[-1]) <= problem.bracket.high


def test_lam_starts_where_it_is_told_and_a_fixed_one_stays_in_later_stages() -> None:
    solver = GaussNewton(
        GaussNewtonConfig(hidden="6x5", points=60, stages=2, stage_iterations=5, wide=20, lam="fixed", lam_start=0.4)
    )
    problem = Burgers()
    state = solver.init(problem, 0, "cpu")
    for _ in range(7):
        state = solver.step(problem, state)
    assert state.stage == 1
    assert solver.profile(problem, state).lam == 0.4


@pytest.mark.parametrize(("order", "bound"), [(0, 1e-12), (1, 1e-11)])
@pytest.mark.parametrize("seed", [0, 1])
def test_later_stages_take_burgers_from_random_networks_to_rounding(order: int, bound: float, seed: int) -> None:
    problem = Burgers(order=order)
    solver = GaussNewton(GaussNewtonConfig(stages=3, stage_iterations=150))
    state = solver.init(problem, seed, "cpu")
    for _ in range(154):
        state = solver.step(problem, state)
    assert state.stage == 2
    measured = measure(problem, solver.profile(problem, state))
    assert RES_MAX.compute(measured) < bound
    assert COND_MAX.compute(measured) < bound
    assert abs(measured.lam - problem.target.lam) < bound


def test_later_stages_take_the_nonlocal_ccf_to_ten_digits_and_more() -> None:
    problem = CCF()
    solver = GaussNewton(GaussNewtonConfig(stages=2, stage_iterations=60))
    state = solver.init(problem, 0, "cpu")
    for _ in range(62):
        state = solver.step(problem, state)
    measured = measure(problem, solver.profile(problem, state))
    assert RES_MAX.compute(measured) < 1e-11
    assert COND_MAX.compute(measured) < 1e-11
    assert abs(measured.lam - problem.target.lam) < 1e-11


def test_a_state_in_a_later_stage_continues_bit_for_bit_and_its_profile_is_stored_whole() -> None:
    problem = Burgers()
    solver = GaussNewton(GaussNewtonConfig(hidden="6x5", points=60, stages=3, stage_iterations=5, wide=20))
    state = solver.init(problem, 3, "cpu")
    for _ in range(6):
        state = solver.step(problem, state)
    copy = type(state).from_tensors(state.to_tensors(), "cpu")
    for _ in range(4):
        state, copy = solver.step(problem, state), solver.step(problem, copy)
    assert (state.stage, copy.stage) == (2, 2)
    assert torch.equal(state.theta, copy.theta)
    profile = solver.profile(problem, state)
    again = solver.restore(problem, profile.lam, profile.tensors())
    x = problem.evaluation()
    assert again.lam == profile.lam
    assert torch.equal(again.fields(x)["W"], profile.fields(x)["W"])


def test_the_median_frequency_is_that_of_a_wave_between_scattered_points() -> None:
    z = torch.rand(500, 2, generator=torch.Generator().manual_seed(0), dtype=F64) * 2 - 1
    wave = torch.sin(17 * z[:, 0] + 0.3) + 0.2 * torch.sin(5 * z[:, 1])
    assert median_frequency(z, wave[None]) == pytest.approx(17, abs=1)


def test_the_median_frequency_of_a_wave_that_quickens_lies_between_its_ends() -> None:
    z = torch.linspace(-1, 1, 4000, dtype=F64)[:, None]
    quickens = torch.sin(20 * z[:, 0] + 50 * (z[:, 0] + 1) ** 2)  # from 20 to 220 radians per unit
    assert median_frequency(z, quickens[None]) == pytest.approx(120, abs=15)


def test_points_are_drawn_in_proportion_to_their_shares() -> None:
    generator = torch.Generator().manual_seed(0)
    share = torch.tensor([1.0, 2.0, 4.0, 0.0], dtype=F64)
    counts = torch.zeros(4)
    for _ in range(4000):
        counts[drawn(share, 1, generator)] += 1
    assert counts[3] == 0
    assert torch.allclose(counts[:3] / 4000, share[:3].float() / 7, atol=0.03)
    assert sorted(drawn(share, 3, generator).tolist()) == [0, 1, 2]


@pytest.mark.parametrize(
    "setting",
    [
        {"direction": "dogleg"},
        {"direction": "momentum"},
        {"line_search": True},
        {"direction": "momentum", "line_search": True, "linear_solver": "kernel", "points": 60},
        {"loss": "amplitude"},
        {"loss": "gradient"},
        {"sampling": "adaptive"},
        {"lam": "funnel"},
    ],
    ids=str,
)
def test_every_variant_descends_on_burgers(setting: dict) -> None:
    problem, solver = Burgers(), GaussNewton(GaussNewtonConfig(**{"hidden": "8x8", "points": 200} | setting))
    state = solver.init(problem, 0, "cpu")
    residuals = []
    for i in range(61):
        if i % 60 == 0:
            residuals.append(RES_MAX.compute(measure(problem, solver.profile(problem, state))))
        state = solver.step(problem, state)
    assert residuals[1] < 1e-2 * residuals[0]


def test_a_loss_that_combines_rows_is_refused_without_the_matrix() -> None:
    with pytest.raises(ValidationError, match="never holds"):
        GaussNewtonConfig(loss="gradient", linear_solver="lsmr")
    assert "nonlocal terms" in GaussNewton(GaussNewtonConfig(loss="gradient")).supports(CCF())


@pytest.mark.parametrize("linear_solver", ["streamed", "lsmr"])
def test_without_the_matrix_iterations_go_the_same_way(linear_solver: str) -> None:
    problem, losses = Burgers(), []
    for setting in ("cholesky", linear_solver):
        solver = GaussNewton(
            GaussNewtonConfig(hidden="5x4", points=60, linear_solver=setting, chunk=7, damping=1.0, resample=100)
        )
        state = solver.init(problem, 0, "cpu")
        for _ in range(4):
            state = solver.step(problem, state)
        losses.append(state.theta)
    assert torch.allclose(losses[0], losses[1], rtol=0, atol=1e-7)


def test_lsmr_takes_fifty_thousand_parameters() -> None:
    problem = Registry.load().get("problems", "toy_ipm").load()()
    config = {"hidden": "112x112x112", "points": 64, "linear_solver": "lsmr", "lsmr_iterations": 10, "chunk": 16}
    solver = GaussNewton(GaussNewtonConfig(**config))
    state = solver.init(problem, 0, "cpu")
    assert len(state.theta) > 50_000
    before = solver.ansatz(problem, state).residual(state.theta, state.points).square().mean()
    for _ in range(3):
        state = solver.step(problem, state)
    assert solver.ansatz(problem, state).residual(state.theta, state.points).square().mean() < 0.5 * before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("problem", ["burgers", "toy_ipm"])
def test_gauss_newton_on_the_gpu_takes_the_same_steps_to_rounding(problem: str) -> None:
    problem, solver = (
        Registry.load().get("problems", problem).load()(),
        GaussNewton(GaussNewtonConfig(hidden="6x5", points=60, resample=3)),
    )
    cpu, gpu = solver.init(problem, 0, "cpu"), solver.init(problem, 0, "cuda")
    for _ in range(3):
        cpu, gpu = solver.step(problem, cpu), solver.step(problem, gpu)
    assert gpu.theta.is_cuda
    assert torch.allclose(cpu.theta, gpu.theta.cpu(), rtol=1e-6, atol=1e-8)
