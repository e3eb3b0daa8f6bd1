"""Networks: jets and Jacobians against autograd and differences, for every shipped problem."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from usd_bench.jets import Channels, differentiate, equation_namespace
from usd_bench.problem import Problem
from usd_bench.registry import Registry
from usd_solvers.gauss_newton import GaussNewton, GaussNewtonConfig
from usd_solvers.pinn.ansatz import Ansatz
from usd_solvers.pinn.network import Network
from usd_solvers.pinn.objective import GRADIENT_WEIGHT, Objective
from usd_solvers.pinn.panels import NODES, panel_points, panels_by, panels_of, panels_with, term_matrices

PROBLEMS = [entry.name for entry in Registry.load().of("problems")]


def setting(name: str, hidden: tuple[int, ...] = (7, 6, 5), n: int = 40):
    problem = Registry.load().get("problems", name).load()()
    generator = torch.Generator().manual_seed(5)
    x, terms = points_and_terms(problem, n, generator)
    ansatz = Ansatz(problem, hidden, terms=terms)
    theta = ansatz.initial(generator, "cpu")
    theta += 0.1 * torch.randn(theta.shape, generator=generator, dtype=torch.float64)
    return problem, ansatz, theta, x


def points_and_terms(problem: Problem, n: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    if not problem.nonlocal_terms:
        return problem.collocation(n, generator), {}
    x = panel_points(panels_of(problem, 600))  # fewer panels would not carry a density
    return x, term_matrices(problem, x)


@pytest.mark.parametrize("name", PROBLEMS)
def test_jacobian_equals_differences_to_1e_8_relative(name: str) -> None:
    _, ansatz, theta, x = setting(name)
    residual, jacobian = ansatz.linearise(theta, x)
    h = 1e-3
    worst = 0.0
    for p in range(ansatz.size):
        step = torch.zeros_like(theta)
        step[p] = h
        f = {k: ansatz.residual(theta + k * step, x).flatten() for k in (-3, -2, -1, 1, 2, 3)}
        # sixth-order central differences
        column = (45 * (f[1] - f[-1]) - 9 * (f[2] - f[-2]) + (f[3] - f[-3])) / (60 * h)
        worst = max(worst, (column - jacobian[:, p]).abs().max().item())
    assert worst <= 1e-8 * jacobian.abs().max().item()
    assert torch.allclose(residual, ansatz.residual(theta, x).flatten(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", PROBLEMS)
def test_jacobian_equals_autograd_to_rounding(name: str) -> None:
    _, ansatz, theta, x = setting(name, hidden=(5, 4), n=12)
    _, jacobian = ansatz.linearise(theta, x)
    expected = torch.autograd.functional.jacobian(lambda t: ansatz.residual(t, x).flatten(), theta)
    assert (jacobian - expected).abs().max().item() <= 1e-12 * expected.abs().max().item()


@pytest.mark.parametrize("name", PROBLEMS)
def test_in_a_later_stage_the_jacobian_equals_autograd_and_the_residual_starts_where_it_was(name: str) -> None:
    problem, ansatz, theta, x = setting(name, hidden=(5, 4), n=12)
    earlier = ansatz.next_stage(theta, x, ansatz.residual(theta, x), 6, torch.Generator().manual_seed(2))
    above = Ansatz.stacked(problem, (5, 4), 6, earlier, points_and_terms(problem, 12, torch.Generator())[1])
    assert above.size == len(problem.fields) * 7 + 1
    zero = torch.zeros(above.size, dtype=torch.float64)
    assert torch.equal(above.residual(zero, x), ansatz.residual(theta, x))
    eta = torch.randn(above.size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    _, jacobian = above.linearise(eta, x)
    expected = torch.autograd.functional.jacobian(lambda t: above.residual(t, x).flatten(), eta)
    assert (jacobian - expected).abs().max().item() <= 1e-12 * expected.abs().max().item()


@pytest.mark.parametrize("name", PROBLEMS)
def test_residual_by_jets_equals_the_residual_the_harness_takes_by_autograd(name: str) -> None:
    problem, ansatz, theta, x = setting(name)
    y = x.clone().requires_grad_()
    fields = ansatz.values(theta, y)
    u = equation_namespace({f: differentiate(v, y, problem.channels[f]) for f, v in fields.items()})
    _, terms = points_and_terms(problem, 40, torch.Generator())
    vars(u).update({term: matrix @ problem.density(u, problem.points(y)) for term, matrix in terms.items()})
    measured = problem.scaled_residual(u, problem.points(y), theta[-1])
    assert (measured - ansatz.residual(theta, x)).abs().max().item() <= 1e-12 * (1 + measured.abs().max().item())


def test_network_jets_equal_autograd_to_1e_12() -> None:
    channels = Channels.of(("a", "b"), ("aa", "ab", "bb"))
    network = Network(2, (9, 8))
    generator = torch.Generator().manual_seed(0)
    theta = network.initial(generator) * 3
    x = torch.rand(30, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    value = Channels.of(("a", "b"), ())
    plain, _ = network.forward(theta, x[None], value)
    expected = differentiate(plain[0], x, channels).data.detach()
    features = torch.zeros(len(channels), 30, 2, dtype=torch.float64)
    features[0], features[1, :, 0], features[2, :, 1] = x.detach(), 1.0, 1.0
    jets, _ = network.forward(theta, features, channels)
    assert (jets - expected).abs().max().item() <= 1e-12 * expected.abs().max().item()


def test_mixed_derivatives_pass_through_the_transposed_sweep() -> None:
    """No shipped problem reads a mixed derivative, so its Jacobian is checked here on the network alone."""
    channels = Channels.of(("a", "b"), ("aa", "ab", "bb"))
    network = Network(2, (5, 4))
    generator = torch.Generator().manual_seed(1)
    theta = network.initial(generator) * 2
    features = torch.randn(len(channels), 6, 2, generator=generator, dtype=torch.float64)
    seeds = torch.randn(3, len(channels), 6, generator=generator, dtype=torch.float64)
    _, trace = network.forward(theta, features, channels)
    out = torch.empty(3, 6, network.size, dtype=torch.float64)
    network.jacobian(theta, trace, channels, seeds, out)
    expected = torch.autograd.functional.jacobian(
        lambda t: torch.einsum("ecn,cn->en", seeds, network.forward(t, features, channels)[0]), theta
    )
    assert (out - expected).abs().max().item() <= 1e-13 * (1 + expected.abs().max().item())


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_operator_is_the_jacobian(name: str) -> None:
    _, ansatz, theta, x = setting(name, hidden=(5, 4), n=12)
    residual, jacobian = ansatz.linearise(theta, x)
    same, operator = ansatz.operator(theta, x, chunk=5)
    generator = torch.Generator().manual_seed(4)
    d, b = (torch.randn(size, generator=generator, dtype=torch.float64) for size in jacobian.shape[::-1])
    size = jacobian.norm().item()
    assert torch.allclose(same, residual, rtol=0, atol=1e-13 * (1 + residual.abs().max().item()))
    assert (operator.times(d) - jacobian @ d).abs().max().item() <= 1e-13 * size
    assert (operator.transposed(b) - jacobian.T @ b).abs().max().item() <= 1e-13 * size
    gram = sum(block.T @ block for block in operator.blocks())
    assert (gram - jacobian.T @ jacobian).abs().max().item() <= 1e-13 * size**2


@pytest.mark.parametrize("linear_solver", ["cholesky", "semi_normal", "kernel", "streamed", "lsmr"])
@pytest.mark.parametrize("name", ["burgers", "ccf", "ipm", "boussinesq"])
def test_iterations_run_on_a_device_without_data(name: str, linear_solver: str) -> None:
    """There a value read back, or a tensor left on the CPU, is an error. Torch has no such kernel for ``qr``."""
    problem = Registry.load().get("problems", name).load()()
    config = {"hidden": "5x4", "points": 60, "resample": 1, "linear_solver": linear_solver, "lsmr_iterations": 3}
    solver = GaussNewton(GaussNewtonConfig(**config))
    real = solver.init(problem, 1, "cpu")
    state = type(real).from_tensors(real.to_tensors(), "meta")
    if problem.nonlocal_terms:
        solver.keep_terms(state, {name: m.to("meta") for name, m in term_matrices(problem, real.points).items()})
    for _ in range(2):
        state = solver.step(problem, state)
    assert state.iteration == 2
    assert state.theta.device.type == "meta"


class NoHostSync(TorchDispatchMode):
    """Fails on the operation behind ``.item()``, ``bool(tensor)`` and ``float(tensor)``."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert "_local_scalar_dense" not in str(func), "a value was read back from the device inside an iteration"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_gauss_newton_iteration_reads_nothing_back_from_the_device(name: str) -> None:
    problem = Registry.load().get("problems", name).load()()
    solver = GaussNewton(GaussNewtonConfig(hidden="5x4", points=40, resample=5))
    state = solver.init(problem, 1, "cpu")
    with NoHostSync():
        state = solver.step(problem, state)
    assert state.iteration == 1


def test_panels_are_known_from_their_points() -> None:
    panels = panels_of(Registry.load().get("problems", "ccf").load()(), 240)
    assert len(panels) == 20
    assert (panels_with(panel_points(panels)).breaks - panels.breaks).abs().max().item() <= 1e-12


def test_new_panels_keep_the_ends_and_crowd_where_the_function_is_large() -> None:
    old = panels_of(Registry.load().get("problems", "ccf").load()(), 240)
    size = torch.zeros(20, NODES, dtype=torch.float64)
    size[7] = 1.0
    new = panels_by(old, size.flatten(), 480)
    assert len(new) == 40
    assert torch.equal(new.breaks[[0, -1]], old.breaks[[0, -1]])
    inside = (new.centre > old.breaks[7]) & (new.centre < old.breaks[8])
    assert 20 <= int(inside.sum()) <= 22  # its share of the even half, and the other half


@pytest.mark.parametrize("loss", ["residual", "amplitude", "gradient"])
@pytest.mark.parametrize("name", ["burgers", "ipm", "boussinesq"])
def test_the_jacobian_of_every_loss_agrees_with_autograd(name: str, loss: str) -> None:
    problem = Registry.load().get("problems", name).load()()
    generator = torch.Generator().manual_seed(2)
    ansatz = Ansatz(problem, (4, 3))
    theta = ansatz.initial(generator, "cpu")
    objective = Objective(loss, ansatz, theta, problem.collocation(6, generator))
    rows, jacobian = objective.linearise(theta)
    expected = torch.autograd.functional.jacobian(objective.rows, theta)
    assert torch.allclose(rows, objective.rows(theta), rtol=1e-12, atol=1e-15)
    assert torch.allclose(objective.weight * jacobian, expected, rtol=1e-9, atol=1e-11 * expected.abs().max().item())


def test_a_gradient_row_is_the_slope_of_the_residual() -> None:
    problem = Registry.load().get("problems", "ipm").load()()
    generator = torch.Generator().manual_seed(2)
    ansatz = Ansatz(problem, (4, 3))
    theta = ansatz.initial(generator, "cpu")
    x = torch.cartesian_prod(*(torch.tensor(at, dtype=torch.float64) for at in ([-1.0, 0.5, 3.0], [0.2, 0.9])))
    objective = Objective("gradient", ansatz, theta, x)
    rows = objective.rows(theta).view(2, 3, 6) / objective.weight
    slopes = torch.autograd.functional.jacobian(lambda at: ansatz.residual(theta, at).sum(1), x)  # (equations, N, d)
    assert torch.allclose(rows[:, 0], ansatz.residual(theta, x), rtol=0, atol=1e-14)
    assert torch.allclose(rows[:, 1:], GRADIENT_WEIGHT * slopes.transpose(1, 2), rtol=0.02, atol=1e-3)


def test_a_loss_by_amplitude_divides_by_the_slopes_of_the_fields() -> None:
    problem = Registry.load().get("problems", "burgers").load()()
    generator = torch.Generator().manual_seed(2)
    ansatz = Ansatz(problem, (4, 3))
    theta, x = ansatz.initial(generator, "cpu"), problem.collocation(6, generator).requires_grad_()
    (slope,) = torch.autograd.grad(ansatz.values(theta, x)["W"].sum(), x)
    x = x.detach()
    rows = Objective("amplitude", ansatz, theta, x).rows(theta)
    expected = ansatz.residual(theta, x)[0] / (1 + slope[:, 0].square()).sqrt() / 6**0.5
    assert torch.allclose(rows, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["ccf", "ipm"])
def test_networks_start_from_a_stored_profile_when_asked_to(name: str) -> None:
    problem = Registry.load().get("problems", name).load()(order=1)
    solver = GaussNewton(GaussNewtonConfig(hidden="10x10", points=600, warm_start="reference"))
    assert solver.supports(problem) is None
    state = solver.init(problem, 0, "cpu")
    x, known = problem.collocation(100, torch.Generator().manual_seed(5)), problem.reference()
    assert solver.profile(problem, state).lam == known.lam
    for field, values in solver.profile(problem, state).fields(x).items():
        assert (values - known.fields(x)[field]).abs().max().item() < 5e-3
    neighbour = GaussNewton(GaussNewtonConfig(hidden="10x10", points=600, warm_start="neighbour"))
    assert neighbour.profile(problem, neighbour.init(problem, 0, "cpu")).lam == problem.bracket.guess
    assert "no such stored profile" in neighbour.supports(problem.at_order(0))
