"""The rescaled equation in time: its scaling, its order, where it settles, and what it moves away from."""

from __future__ import annotations

import math

import pytest
import torch

from usd_bench.metrics import measure
from usd_bench.problem import Problem
from usd_bench.profile import FunctionProfile
from usd_problems.boussinesq import Boussinesq
from usd_problems.ccf import CCF
from usd_problems.clm import CLM
from usd_problems.hou_luo import HouLuo
from usd_problems.ipm import IPM
from usd_solvers.dynamic_rescaling import DynamicRescaling, DynamicRescalingConfig, DynamicRescalingState

EVOLVING = [CLM(), CCF(order=1), HouLuo(), IPM(), Boussinesq()]


def evolved(problem: Problem, until: float, **settings: float) -> tuple[DynamicRescaling, DynamicRescalingState]:
    """The state at a time."""
    solver = DynamicRescaling(DynamicRescalingConfig(**settings))
    state = solver.init(problem, 0, "cpu")
    for _ in range(round(until / solver.config.time_step)):
        state = solver.step(problem, state)
    return solver, state


@pytest.mark.parametrize("problem", EVOLVING, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("c", [0.7, 1.2])
def test_a_profile_with_time_in_other_units_moves_at_its_powers(problem: Problem, c: float) -> None:
    """With field · c^power and (1+λ) c, equation = (1 - c) · power · field: what the solver adds to the equation."""
    known = problem.reference()
    assert known is not None

    def fields(x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: value * c ** problem.time_power.get(name, 1) for name, value in known.fields(x).items()}

    found = measure(problem, FunctionProfile((1 + known.lam) * c - 1, fields))
    for row, equation in zip(found.raw, problem.equations, strict=True):
        name = problem.evolution.get(equation)
        expected = torch.zeros_like(row) if name is None else (1 - c) * problem.time_power[name] * found.values[name]
        assert (row - expected).abs().max().item() < 1e-8


def test_the_step_is_of_first_order_in_time() -> None:
    lams = [evolved(CCF(), 1.0, time_step=step)[1].scalars.item() for step in (0.1, 0.05, 0.025)]
    assert (lams[0] - lams[1]) / (lams[1] - lams[2]) == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("selector", ["ccf", "hou_luo"])
def test_the_exponents_of_one_dimensional_models_come_out_to_eight_digits(rows, selector: str) -> None:
    (row,) = rows("-p", selector, "-s", "dynamic_rescaling", "--until", "lam_digits=8")
    assert row["status"] == "converged"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ipm_and_boussinesq_settle_at_the_published_exponents(rows) -> None:
    (ipm,) = rows("-p", "ipm", "-s", "dynamic_rescaling", "--until", "lam_digits=7", "--max-time", "1800")
    assert ipm["status"] == "converged"
    (boussinesq,) = rows("-p", "boussinesq", "-s", "dynamic_rescaling", "--until", "lam_digits=6", "--max-time", "1800")
    assert boussinesq["status"] == "converged"


def test_an_unstable_profile_is_left_at_the_rate_of_its_growing_mode() -> None:
    """Eggers & Fontelos 2020: μ = 0.365250 for ccf order 1. The implicit step grows by 1 / (1 - μ step)."""
    problem, solver = CCF(order=1), DynamicRescaling(DynamicRescalingConfig(time_step=0.2, warm_start="reference"))
    state = solver.init(problem, 0, "cpu")
    state.scalars = state.scalars + 1e-5
    rates = []
    for _ in range(110):
        state = solver.step(problem, state)
        rates.append(state.rate.item())
    growth = (rates[-1] / rates[-11]) ** (1 / 10)
    assert (1 - 1 / growth) / 0.2 == pytest.approx(0.36525, abs=1e-3)


def test_where_it_settles_does_not_depend_on_the_step() -> None:
    found = [evolved(CCF(), 32.0, time_step=step)[1].scalars.item() for step in (0.5, 0.25)]
    assert math.isclose(*found, abs_tol=1e-8)


@pytest.mark.parametrize(
    ("problem", "word"), [("ccf[order=1]", "unstable"), ("burgers", "how its fields evolve")], ids=["order", "burgers"]
)
def test_what_cannot_evolve_is_a_row_with_the_reason(rows, problem: str, word: str) -> None:
    (row,) = rows("-p", problem, "-s", "dynamic_rescaling")
    assert row["status"] == "unsupported"
    assert word in row["reason"]
