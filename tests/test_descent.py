"""Descents by torch optimisers: what they remember as data, and each method on what it is known to solve."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usd_bench.metrics import RES_L2, measure
from usd_bench.registry import Registry
from usd_problems.burgers import Burgers
from usd_solvers.adam import Adam, AdamConfig
from usd_solvers.adam_lbfgs import AdamLBFGS, AdamLBFGSConfig
from usd_solvers.pinn import extra, memory
from usd_solvers.pinn.descent import Descent

F64 = torch.float64
DESCENTS = [entry.name for entry in Registry.load().of("solvers") if issubclass(entry.load(), Descent)]

SCALARS = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False)
KEYS = st.sampled_from(["step", "exp_avg", "GG", "Q", "old_dirs"])


@given(
    st.dictionaries(
        st.integers(0, 20),
        st.dictionaries(KEYS, SCALARS | st.lists(SCALARS, max_size=12) | st.just({})),
    )
)
def test_what_an_optimiser_remembers_comes_back_from_tensors(state: dict) -> None:
    assert memory.from_tensors(memory.to_tensors({"state": state})) == {"state": state}


def test_tensors_are_copied_and_keep_their_type() -> None:
    step = torch.tensor(3.0, dtype=torch.float32)
    kept = memory.to_tensors({0: {"step": step, "GG": [torch.eye(2, dtype=F64)]}})
    step += 1
    back = memory.from_tensors(kept)
    assert back[0]["step"].dtype == torch.float32
    assert back[0]["step"].item() == 3
    assert torch.equal(back[0]["GG"][0], torch.eye(2, dtype=F64))


def test_what_a_checkpoint_could_not_hold_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="object at '0/graft'"):
        memory.to_tensors({0: {"graft": object()}})


@pytest.mark.parametrize("name", DESCENTS)
def test_every_descent_finds_the_minimum_of_a_quadratic(name: str) -> None:
    """By the optimiser alone, on a matrix, a vector and a number as a network and λ have them."""
    cls = Registry.load().get("solvers", name).load()
    rate = 0.1 if name == "shampoo" else 0.02
    settings = {"learning_rate": rate} if "learning_rate" in cls.Config.model_fields else {}
    solver = cls(cls.Config(**settings, **({"first": 10**6} if name == "adam_lbfgs" else {})))
    target = [torch.linspace(-1, 1, 6, dtype=F64).view(2, 3), torch.ones(2, dtype=F64), torch.tensor([0.5], dtype=F64)]
    parameters = [torch.zeros_like(part).requires_grad_() for part in target]
    kept: dict[str, torch.Tensor] = {}
    for iteration in range(2000):
        optimiser = memory.recalled(solver.optimiser(parameters, 10 * iteration), kept)

        def closure() -> torch.Tensor:
            optimiser.zero_grad()  # noqa: B023
            pairs = enumerate(zip(parameters, target, strict=True))
            loss = sum((p - t).square().sum() * (1 + i) for i, (p, t) in pairs)
            loss.backward()
            return loss

        optimiser.step(closure)
        kept = memory.of(optimiser)
    for found, wanted in zip(parameters, target, strict=True):
        assert (found - wanted).abs().max().item() < 0.05


@pytest.mark.parametrize("name", DESCENTS)
def test_every_descent_lowers_the_residual_of_burgers(name: str) -> None:
    cls = Registry.load().get("solvers", name).load()
    problem, solver = Burgers(), cls(cls.Config(hidden="8x8", points=100))
    state = solver.init(problem, 0, "cpu")
    before = RES_L2.compute(measure(problem, solver.profile(problem, state)))
    for _ in range(200):
        state = solver.step(problem, state)
    assert RES_L2.compute(measure(problem, solver.profile(problem, state))) < 0.7 * before


def test_lbfgs_reaches_the_minimum_of_a_quadratic_in_few_steps() -> None:
    cls = Registry.load().get("solvers", "lbfgs").load()
    solver, scale = cls(), torch.logspace(0, 2, 8, dtype=F64)
    x = torch.zeros(8, dtype=F64, requires_grad=True)
    optimiser = solver.optimiser([x], 0)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (scale * (x - 1).square()).sum()
        loss.backward()
        return loss

    for _ in range(25):
        optimiser.step(closure)
    assert (x - 1).abs().max().item() < 1e-8


def test_lbfgs_goes_on_past_long_first_trials_and_small_losses() -> None:
    """As torch has it for one iteration a step, it stands still from 1.7e-6 on; with torch's history, from 4e-8."""
    cls = Registry.load().get("solvers", "lbfgs").load()
    problem, solver = Burgers(), cls(cls.Config())
    state = solver.init(problem, 1000001, "cpu")
    for _ in range(400):
        state = solver.step(problem, state)
    loss = solver.ansatz(problem, state).residual(state.theta, state.points).square().mean().item()
    assert loss < 4e-9
    assert state.counters.residual < 1200  # mostly the first trial does


def test_adam_hands_over_to_lbfgs_and_its_points_stay() -> None:
    problem, solver = Burgers(), AdamLBFGS(AdamLBFGSConfig(hidden="8x8", points=100, first=20))
    state = solver.init(problem, 0, "cpu")
    for _ in range(20):
        state = solver.step(problem, state)
    by_adam = RES_L2.compute(measure(problem, solver.profile(problem, state)))
    assert any("exp_avg" in name for name in state.memory)
    points = state.points
    for _ in range(30):
        state = solver.step(problem, state)
    assert any("old_dirs" in name for name in state.memory)
    assert not any("exp_avg" in name for name in state.memory)
    assert torch.equal(state.points, points)
    assert RES_L2.compute(measure(problem, solver.profile(problem, state))) < 0.5 * by_adam


def test_a_solver_without_its_package_says_what_to_install() -> None:
    assert extra.missing("torch") is None
    assert "pip install 'usd-bench[baselines]'" in extra.missing("no_such_package")


def test_adam_takes_the_steps_of_torch_optim() -> None:
    problem, solver = Burgers(), Adam(AdamConfig(hidden="6x5", points=60, resample=10**6, learning_rate=0.01))
    state = solver.init(problem, 0, "cpu")
    theta = state.theta.clone().requires_grad_()
    optimiser = torch.optim.Adam([theta], lr=0.01)
    ansatz = solver.ansatz(problem, state)
    for _ in range(5):
        state = solver.step(problem, state)
        optimiser.zero_grad()
        ansatz.residual(theta, state.points).square().mean().backward()
        optimiser.step()
    assert torch.equal(state.theta, theta.detach())
