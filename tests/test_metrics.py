"""Measurement: hand-worked values, and profiles that cannot vouch for themselves."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from usd_bench.errors import MeasurementError
from usd_bench.metrics import RES_MAX, compute, lam_digits, measure
from usd_bench.profile import FunctionProfile
from usd_bench.registry import Registry
from usd_bench.run.budget import Budget
from usd_problems.burgers import Burgers
from usd_problems.ipm import IPM

METRICS = {entry.name: entry.load() for entry in Registry.load().of("metrics")}


def test_digits_count_correct_decimals_and_stop_at_what_the_source_supports() -> None:
    assert lam_digits(1.001, 1.0, 11) == pytest.approx(3)
    assert lam_digits(0.5, 0.5, 16) == 16
    assert lam_digits(1.0 + 1e-13, 1.0, 11) == 11
    assert lam_digits(7.0, 1.0, 11) == 0
    assert math.isnan(lam_digits(math.inf, 1.0, 11))


def test_residual_statistics_of_a_constant_field_are_those_worked_by_hand() -> None:
    """W = c and λ = 1/2: the residual is 3 c^2 y^2, over the envelope 1 / (1 + y^2)."""
    problem, c = Burgers(), 0.7
    measured = measure(problem, FunctionProfile(0.5, lambda x: {"W": torch.full_like(x[:, 0], c) + 0 * x[:, 0]}))
    z = (2 * problem.evaluation()[:, 0]).exp()
    raw = 3 * c**2 * z
    values = compute(METRICS, measured)
    assert values["raw_max"] == pytest.approx(raw.max().item(), rel=1e-12)
    assert values["raw_l2"] == pytest.approx(raw.square().mean().sqrt().item(), rel=1e-12)
    assert values["res_max"] == pytest.approx((raw * (1 + z)).max().item(), rel=1e-12)
    assert values["res_mean"] == pytest.approx((raw * (1 + z)).mean().item(), rel=1e-12)
    assert values["cond_max"] == pytest.approx(0.3, rel=1e-12)


def test_errors_are_relative_to_the_reference() -> None:
    problem = Burgers()
    reference = problem.reference()
    measured = measure(problem, FunctionProfile(0.5, lambda x: {"W": 1.01 * reference.fields(x)["W"]}))
    values = compute(METRICS, measured)
    assert values["err_l2_rel"] == pytest.approx(0.01, rel=1e-10)
    assert values["err_max"] == pytest.approx(0.01, rel=1e-10)


@pytest.mark.parametrize("problem", [Burgers(), IPM()])
def test_fields_that_vanish_have_no_residual_and_still_do_not_converge(problem) -> None:
    zero = FunctionProfile(0.9, lambda x: {f.name: 0 * x[:, 0] for f in problem.fields})
    values = compute(METRICS, measure(problem, zero))
    assert values["res_max"] == 0
    assert values["cond_max"] >= 0.25
    budget = Budget(max_iter=1, max_work=None, max_time=1.0, until={"res_max": 1e-3}, eval_every=1)
    assert not budget.reached(METRICS, values)


@pytest.mark.parametrize("lam", [math.nan, math.inf, -math.inf, 1e12, -7.0])
@pytest.mark.parametrize("name", [entry.name for entry in Registry.load().of("problems")])
def test_a_profile_whose_exponent_is_absurd_is_measured_and_never_good(name: str, lam: float) -> None:
    """A solver that has diverged says such things; they are a status, not an error of the harness."""
    problem = Registry.load().get("problems", name).load()()
    known = problem.reference()
    measured = measure(problem, FunctionProfile(lam, known.fields))
    values = compute(METRICS, measured)
    assert not values["res_max"] < 1e-6


@pytest.mark.parametrize("name", [entry.name for entry in Registry.load().of("problems")])
def test_fields_that_are_not_numbers_are_measured_as_that(name: str) -> None:
    problem = Registry.load().get("problems", name).load()()
    nothing = FunctionProfile(math.nan, lambda x: {f.name: math.nan * x[:, 0] for f in problem.fields})
    assert math.isnan(compute(METRICS, measure(problem, nothing))["res_max"])


def test_a_field_detached_from_its_points_is_refused() -> None:
    reference = Burgers().reference()
    with pytest.raises(MeasurementError, match="differentiable"):
        measure(Burgers(), FunctionProfile(0.5, lambda x: {"W": reference.fields(x.detach())["W"]}))


def test_a_field_with_made_up_derivatives_is_refused() -> None:
    class Lie(torch.autograd.Function):
        @staticmethod
        def forward(ctx, s: Tensor) -> Tensor:
            return (-2 * s).sigmoid() * 0.9

        @staticmethod
        def backward(ctx, grad: Tensor) -> Tensor:
            return 0 * grad

    with pytest.raises(MeasurementError, match="disagrees with differences"):
        measure(Burgers(), FunctionProfile(0.5, lambda x: {"W": Lie.apply(x[:, 0])}))


def test_pieces_of_different_solutions_are_caught_between_the_points() -> None:
    """Shifted in s, the exact profile still solves the equation; joined to itself it has no residual anywhere."""
    exact = Burgers().reference().fields

    def joined(x: Tensor) -> dict[str, Tensor]:
        far = x[:, :1] > 0.00371
        return {"W": torch.where(far[:, 0], exact(x + 0.2)["W"] * math.exp(0.4), exact(x)["W"])}

    values = compute(METRICS, measure(Burgers(), FunctionProfile(0.5, joined)))
    assert values["res_max"] < 1e-12
    assert values["cond_max"] > 1e-3


@pytest.mark.parametrize("order", range(4))
def test_a_smooth_profile_is_continuous_to_rounding(order: int) -> None:
    problem = Burgers(order=order)
    assert measure(problem, problem.reference()).conditions["fields are continuous"] < 1e-13


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (lambda x: {"V": x[:, 0]}, "needs \\['W'\\]"),
        (lambda x: {"W": x}, "has shape"),
        (lambda x: {}, "needs"),
    ],
)
def test_wrong_fields_are_named(fields: Callable[[Tensor], dict[str, Tensor]], words: str) -> None:
    with pytest.raises(MeasurementError, match=words):
        measure(Burgers(), FunctionProfile(0.5, fields))


@pytest.mark.parametrize("lam", ["half", None, torch.ones(2)])
def test_an_exponent_that_is_no_number_is_refused(lam) -> None:
    with pytest.raises(MeasurementError, match="expected a number"):
        measure(Burgers(), FunctionProfile(lam, Burgers().reference().fields))


def test_one_condition_that_is_not_a_number_spoils_cond_max() -> None:
    measured = measure(Burgers(), Burgers().reference())
    measured.conditions = {"fine": 0.1, "broken": math.nan, "also fine": 0.2}
    assert math.isnan(METRICS["cond_max"].compute(measured))


def test_a_residual_of_the_wrong_shape_is_refused() -> None:
    class Wrong(Burgers):
        def residual(self, u, x, lam):
            return {"transport": super().residual(u, x, lam)["transport"][:, None]}

    with pytest.raises(MeasurementError, match="must be"):
        measure(Wrong(), Burgers().reference())


def test_a_single_precision_profile_is_measured_in_double() -> None:
    reference = Burgers().reference()
    profile = FunctionProfile(0.5, lambda x: {"W": reference.fields(x)["W"].float()})
    assert RES_MAX.compute(measure(Burgers(), profile)) < 1e-5
