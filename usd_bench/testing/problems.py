"""The contract of a problem, point by point."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from usd_bench.jets import Jet, equation_namespace, slope
from usd_bench.metrics import COND_MAX, RES_MAX, measure
from usd_bench.problem import Problem
from usd_bench.profile import FunctionProfile
from usd_bench.run.plan import build_problem
from usd_bench.selectors import Selection
from usd_bench.testing.plugin import PluginConformance

POINTS = 40


class ProblemConformance(PluginConformance):
    """Subclassed by ``problem_conformance``."""

    kind = "problems"
    parameters: ClassVar[Mapping[str, Any]]

    def _problem(self) -> Problem:
        return build_problem(self._registry(), Selection(self.name, dict(self.parameters)))

    def _arbitrary(self, problem: Problem) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Random jets of every field, their points, and λ at the guess: an equation is pointwise in them."""
        generator = torch.Generator().manual_seed(1)
        x = problem.collocation(POINTS, generator)
        jets = {
            name: torch.randn(len(channels), len(x), generator=generator, dtype=torch.float64)
            for name, channels in problem.channels.items()
        }
        for term in problem.nonlocal_terms:
            jets[term] = torch.randn(1, len(x), generator=generator, dtype=torch.float64)
        return jets, x, torch.tensor(problem.bracket.guess, dtype=torch.float64)

    def _residual(self, problem: Problem, jets: Mapping[str, Tensor], x: Tensor, lam: Tensor) -> Tensor:
        u = _namespace(problem, jets)
        return problem.scaled_residual(u, problem.points(x), lam)

    def test_every_equation_has_a_residual_and_a_positive_scale(self) -> None:
        problem = self._problem()
        jets, x, lam = self._arbitrary(problem)
        u = _namespace(problem, jets)
        residual, scale = problem.residual(u, problem.points(x), lam), problem.scale(problem.points(x), lam)
        assert set(residual) == set(scale) == set(problem.equations)
        for name in problem.equations:
            assert residual[name].shape == scale[name].shape == (len(x),), name
            assert bool((scale[name] > 0).all()), f"the scale of {name} is not positive everywhere"
            assert bool(residual[name].isfinite().all()), name

    def test_the_residual_is_pointwise(self) -> None:
        problem = self._problem()
        jets, x, lam = self._arbitrary(problem)
        whole = self._residual(problem, jets, x, lam)
        part = self._residual(problem, {name: jet[:, ::3] for name, jet in jets.items()}, x[::3], lam)
        assert torch.allclose(whole[:, ::3], part, rtol=1e-12, atol=1e-12)

    def test_the_residual_is_differentiable_in_jets_and_lam(self) -> None:
        """Autograd against central differences, in a random direction of each."""
        problem = self._problem()
        jets, x, lam = self._arbitrary(problem)
        for name in (*jets, "lam"):
            at = lam if name == "lam" else jets[name]
            direction = torch.randn(at.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

            def along(t: Tensor, name: str = name, at: Tensor = at, direction: Tensor = direction) -> Tensor:
                moved = at + t * direction
                if name == "lam":
                    return self._residual(problem, jets, x, moved)
                return self._residual(problem, jets | {name: moved}, x, lam)

            h = 1e-5
            numeric = (along(torch.tensor(h)) - along(torch.tensor(-h))) / (2 * h)
            exact = slope(along, torch.zeros((), dtype=torch.float64))
            size = float(along(torch.zeros(())).abs().max()) + float(exact.abs().max())
            assert torch.allclose(exact, numeric, rtol=1e-5, atol=1e-6 * size), f"derivative by {name}"

    def test_every_field_is_read(self) -> None:
        """By an equation, or a condition, or the density of nonlocal terms."""
        problem = self._problem()
        jets, x, lam = self._arbitrary(problem)
        inputs = {name: jet.clone().requires_grad_() for name, jet in jets.items()}
        read = _reads(inputs, self._residual(problem, inputs, x, lam))
        u = _namespace(problem, inputs)
        if problem.nonlocal_terms:
            read |= _reads(inputs, problem.density(u, problem.points(x)))
        for condition in problem.conditions():
            number = len(condition.at)
            some = SimpleNamespace(**{name: values[:1].expand(number) for name, values in vars(u).items()})
            read |= _reads(inputs, condition.error(some, problem.points(condition.at), lam))
        assert read == set(inputs), f"nothing depends on {', '.join(sorted(set(inputs) - read))}"

    def test_features_are_bounded_and_smooth(self) -> None:
        problem = self._problem()
        x = problem.evaluation().clone().requires_grad_()
        lam = torch.tensor(problem.bracket.guess, dtype=torch.float64)
        for i, feature in enumerate(problem.features(problem.points(x), lam)):
            assert float(feature.detach().abs().max()) <= 1 + 1e-9, f"feature {i} leaves [-1, 1]"
            (slope,) = torch.autograd.grad(feature.sum(), x, retain_graph=True)
            assert bool(slope.isfinite().all()), f"feature {i} has a slope that is not a number"

    def test_conditions_are_measured_where_they_hold(self) -> None:
        problem = self._problem()
        conditions = problem.conditions()
        kinds = {condition.kind for condition in conditions}
        assert kinds & {"normalisation", "admissibility"}, "nothing singles out one profile and its λ"
        fields = FunctionProfile(
            problem.bracket.guess,
            lambda x: problem.starting_fields(x, torch.tensor(problem.bracket.guess, dtype=torch.float64)),
        )
        measured = measure(problem, fields)
        for condition in conditions:
            assert math.isfinite(measured.conditions[condition.name]), condition.name

    def test_points_are_drawn_by_the_generator_and_lie_inside(self) -> None:
        problem = self._problem()
        one, two, other = (problem.collocation(200, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
        assert one.shape == (200, len(problem.coords))
        assert one.dtype == torch.float64
        assert torch.equal(one, two)
        assert not torch.equal(one, other)
        for axis, (low, high) in enumerate(problem.extent(problem.bracket.guess)):
            assert bool(((one[:, axis] >= low - 1) & (one[:, axis] <= high + 1)).all()), problem.coords[axis]

    def test_held_out_points_are_fixed_and_are_no_collocation_points(self) -> None:
        problem = self._problem()
        held_out = problem.evaluation()
        assert torch.equal(held_out, problem.evaluation())
        assert held_out.dtype == torch.float64
        drawn = problem.collocation(2000, torch.Generator().manual_seed(0))
        assert not bool((held_out[:, None] == drawn[None]).all(-1).any()), "a held-out point was drawn"

    def test_every_known_answer_has_a_source_and_lies_in_the_bracket(self) -> None:
        build = type(self._problem())
        for parameters in build.known():
            problem = build(**parameters)
            bracket, target = problem.bracket, problem.target
            assert bracket.low <= bracket.guess <= bracket.high
            if target is not None:
                assert target.source, f"{parameters}: λ = {target.lam} without a source"
                assert target.digits > 0
                assert bracket.low <= target.lam <= bracket.high, f"{parameters}: λ = {target.lam} outside the bracket"

    def test_the_reference_solves_the_equation_and_a_changed_one_does_not(self) -> None:
        problem = self._problem()
        reference = problem.reference()
        if reference is None:
            pytest.skip(f"{self.name} has no reference profile")
        measured = measure(problem, reference)
        assert RES_MAX.compute(measured) < 1e-6
        assert COND_MAX.compute(measured) < 1e-6
        if problem.target is not None:
            assert abs(reference.lam - problem.target.lam) <= 10 ** (1 - problem.target.digits)
        changed = FunctionProfile(reference.lam, lambda x: {n: 1.01 * v for n, v in reference.fields(x).items()})
        measured = measure(problem, changed)
        assert max(RES_MAX.compute(measured), COND_MAX.compute(measured)) > 1e-4

    def test_the_harness_runs_it(self, tmp_path: Path) -> None:
        given = ",".join(f"{name}={value}" for name, value in self.parameters.items())
        selector = f"{self.name}[{given}]" if given else self.name
        size = ("--max-iter", "2", "--max-time", "120")
        (row,) = self._command("run", "-p", selector, "-s", "adam[points=100,hidden=4x4]", *size, cwd=tmp_path)
        assert row["status"] in ("budget", "converged", "unsupported"), row["reason"]


def _namespace(problem: Problem, jets: Mapping[str, Tensor]) -> SimpleNamespace:
    """``u`` as equations read it, from the jets of the fields and of the nonlocal terms."""
    u = equation_namespace({name: Jet(jets[name], channels) for name, channels in problem.channels.items()})
    vars(u).update({term: jets[term][0] for term in problem.nonlocal_terms})
    return u


def _reads(inputs: Mapping[str, Tensor], result: Tensor) -> set[str]:
    """The inputs on which a result depends."""
    if not result.requires_grad:
        return set()
    found = torch.autograd.grad(result.square().sum(), list(inputs.values()), allow_unused=True, retain_graph=True)
    return {name for name, gradient in zip(inputs, found, strict=True) if gradient is not None and bool(gradient.any())}


def problem_conformance(name: str, plugins_dir: Path | None = None, **parameters: Any) -> type[ProblemConformance]:
    """The suite for the problem registered as ``name``, at these parameters.

    ``plugins_dir``: of a plugin in one file.
    """
    values = {"name": name, "parameters": parameters, "plugins_dir": plugins_dir}
    return type("TestProblem", (ProblemConformance,), values)
