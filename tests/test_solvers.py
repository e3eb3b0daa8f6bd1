"""Every solver: its state as data, equal seeds, profiles as tensors."""

from __future__ import annotations

import pytest
import torch

from usd_bench.errors import CheckpointError
from usd_bench.registry import Registry
from usd_bench.solver import State
from usd_problems.burgers import Burgers
from usd_problems.ccf import CCF

SOLVERS = [entry.name for entry in Registry.load().of("solvers")]
F64 = torch.float64


def small(name: str):
    cls = Registry.load().get("solvers", name).load()
    wanted = {"hidden": "6x5", "points": 60, "resample": 3, "degree": 6}
    if name == "random_features":
        wanted = {"points": 60, "resample": 3, "wide": 10}
    if name == "chebyshev_gn":
        del wanted["hidden"]
    return cls(cls.Config(**{key: value for key, value in wanted.items() if key in cls.Config.model_fields}))


def pairing(name: str):
    """A problem that suits the solver, and the solver at a small size."""
    return {"continuation": CCF(order=1), "dynamic_rescaling": CCF()}.get(name, Burgers()), small(name)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_restored_state_continues_bit_for_bit(name: str) -> None:
    problem, solver = pairing(name)
    state = solver.init(problem, 3, "cpu")
    for _ in range(4):
        state = solver.step(problem, state)
    copy = type(state).from_tensors(state.to_tensors(), "cpu")
    for _ in range(7):
        state, copy = solver.step(problem, state), solver.step(problem, copy)
    one, other = state.to_tensors(), copy.to_tensors()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_step_leaves_the_state_before_it_as_it_was(name: str) -> None:
    problem, solver = pairing(name)
    state = solver.init(problem, 3, "cpu")
    before = state.to_tensors()
    solver.step(problem, state)
    after = state.to_tensors()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", SOLVERS)
def test_equal_seeds_start_equally_and_others_do_not(name: str) -> None:
    problem, solver = pairing(name)
    one, two, other = (solver.init(problem, seed, "cpu") for seed in (1, 1, 2))
    one, two, other = (state.to_tensors() for state in (one, two, other))
    assert all(torch.equal(one[key], two[key]) for key in one)
    deterministic = name in (
        "spectral_newton",
        "continuation",
        "dynamic_rescaling",
    )  # no random numbers: the seed is not used
    assert all(torch.equal(one[key], other[key]) for key in one) == deterministic


def test_both_solvers_start_from_the_same_network_and_points() -> None:
    problem = Burgers()
    one, two = (small(name).init(problem, 1, "cpu") for name in ("gauss_newton", "adam"))
    assert torch.equal(one.theta, two.theta)
    assert torch.equal(one.points, two.points)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_profile_restored_from_its_tensors_is_the_same(name: str) -> None:
    problem, solver = pairing(name)
    profile = solver.profile(problem, solver.init(problem, 0, "cpu"))
    again = solver.restore(problem, profile.lam, profile.tensors())
    x = problem.evaluation()
    assert again.lam == profile.lam
    for field, values in profile.fields(x).items():
        assert torch.equal(again.fields(x)[field], values)


def test_a_state_refuses_the_fields_of_another() -> None:
    tensors = State().to_tensors()
    tensors["momentum"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match="momentum"):
        State.from_tensors(tensors, "cpu")
