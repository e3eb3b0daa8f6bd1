"""The contract of a solver, point by point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from usd_bench.metrics import measure
from usd_bench.problem import Problem
from usd_bench.run.plan import build_problem, build_solver
from usd_bench.selectors import Selection, parse
from usd_bench.solver import Solver, State
from usd_bench.testing.plugin import PluginConformance


class SolverConformance(PluginConformance):
    """Subclassed by ``solver_conformance``."""

    kind = "solvers"
    problem: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]]
    steps: ClassVar[int]

    def _problem(self) -> Problem:
        (selection,) = parse(self.problem)
        return build_problem(self._registry(), selection)

    def _solver(self) -> Solver:
        return build_solver(self._registry(), Selection(self.name, dict(self.settings)))

    def _after(self, steps: int, seed: int = 0) -> tuple[Problem, Solver, Any]:
        problem, solver = self._problem(), self._solver()
        state = solver.init(problem, seed, "cpu")
        for _ in range(steps):
            state = solver.step(problem, state)
        return problem, solver, state

    def test_it_supports_the_problem_and_refuses_with_a_reason(self) -> None:
        solver, registry = self._solver(), self._registry()
        assert solver.supports(self._problem()) is None
        for entry in registry.of("problems"):
            reason = solver.supports(build_problem(registry, Selection(entry.name, {})))
            assert reason is None or (isinstance(reason, str) and reason), f"{entry.name}: {reason!r}"

    def test_a_step_is_one_iteration_and_its_work_is_counted(self) -> None:
        problem, solver, state = self._after(0)
        assert isinstance(state, State), f"init returned a {type(state).__name__}; expected a State"
        assert state.iteration == 0
        before = asdict(state.counters)
        for n in (1, 2, 3):
            state = solver.step(problem, state)
            assert state.iteration == n
            counted = asdict(state.counters)
            assert all(type(count) is int and count >= before[name] for name, count in counted.items())
            before = counted
        assert state.counters.evaluations > 0, "three steps counted no evaluation of residual or Jacobian"

    def test_a_step_leaves_the_state_before_it_as_it_was(self) -> None:
        problem, solver, state = self._after(2)
        before = state.to_tensors()
        solver.step(problem, state)
        _same(before, state.to_tensors())

    def test_a_state_comes_back_from_a_checkpoint_and_goes_on_with_the_same_bits(self) -> None:
        problem, solver, state = self._after(3)
        copy = solver.State.from_tensors(state.to_tensors(), "cpu")
        again = self._solver()  # of another process: nothing may be kept in the solver
        for _ in range(4):
            state, copy = solver.step(problem, state), again.step(self._problem(), copy)
        _same(state.to_tensors(), copy.to_tensors())

    def test_equal_seeds_have_equal_bits_whatever_the_global_generators_say(self) -> None:
        torch.manual_seed(1)
        one = self._after(3, seed=5)[2].to_tensors()
        torch.manual_seed(2)
        _same(one, self._after(3, seed=5)[2].to_tensors())

    def test_a_profile_comes_back_from_its_tensors(self) -> None:
        problem, solver, state = self._after(2)
        profile = solver.profile(problem, state)
        again = self._solver().restore(self._problem(), profile.lam, profile.tensors())
        assert again.lam == profile.lam
        x = problem.evaluation()
        found, expected = again.fields(x), profile.fields(x)
        assert found.keys() == expected.keys()
        for name in expected:
            assert torch.equal(found[name], expected[name]), name

    def test_its_fields_are_double_precision_and_have_true_derivatives(self) -> None:
        problem, solver, state = self._after(2)
        profile = solver.profile(problem, state)
        for name, values in profile.fields(problem.evaluation()).items():
            assert values.dtype == torch.float64, f"{name} is {values.dtype}"
        measure(problem, profile)  # raises where derivatives are not those of the values

    def test_it_never_asks_for_the_held_out_points(self, monkeypatch: pytest.MonkeyPatch) -> None:
        problem, solver = self._problem(), self._solver()

        def withheld() -> Tensor:
            raise AssertionError("the solver asked for the held-out points; use problem.collocation")

        monkeypatch.setattr(problem, "evaluation", withheld)
        state = solver.init(problem, 0, "cpu")
        for _ in range(2):
            state = solver.step(problem, state)
        solver.profile(problem, state)

    def test_it_leaves_the_problem_as_it_is(self) -> None:
        problem, solver = self._problem(), self._solver()
        parameters, points = problem.parameters, problem.evaluation()
        state = solver.init(problem, 0, "cpu")
        solver.profile(problem, solver.step(problem, state))
        assert problem.parameters == parameters
        assert torch.equal(problem.evaluation(), points)

    def test_its_residual_falls(self) -> None:
        problem, solver, state = self._after(0)
        values = [float(measure(problem, solver.profile(problem, state)).scaled.abs().max())]
        for _ in range(self.steps):
            state = solver.step(problem, state)
            if solver.finished(state):
                break
        values.append(float(measure(problem, solver.profile(problem, state)).scaled.abs().max()))
        assert values[1] < values[0], (
            f"largest scaled residual {values[0]:.2g}, after {state.iteration}: {values[1]:.2g}"
        )

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
    def test_on_a_gpu_its_state_stays_there(self) -> None:
        problem, solver = self._problem(), self._solver()
        state = solver.step(problem, solver.init(problem, 0, "cuda"))
        on_device = [v for v in vars(state).values() if isinstance(v, Tensor) and v.is_cuda]
        assert on_device, "no tensor of the state is on the device"

    def test_the_harness_runs_it(self, tmp_path: Path) -> None:
        settings = ",".join(f"{name}={value}" for name, value in self.settings.items())
        selector = f"{self.name}[{settings}]" if settings else self.name
        (row,) = self._command("run", "-p", self.problem, "-s", selector, "--max-iter", "3", cwd=tmp_path)
        assert row["status"] in ("budget", "converged"), row["reason"]


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, f"other bits in {', '.join(different)}"


def solver_conformance(
    name: str,
    problem: str = "burgers",
    steps: int = 30,
    plugins_dir: Path | None = None,
    **settings: Any,
) -> type[SolverConformance]:
    """The suite for the solver registered as ``name``, with these settings, on a problem that it supports.

    ``steps``: iterations after which the measured residual must have fallen. ``plugins_dir``: of a plugin in one file.
    """
    values = {"name": name, "problem": problem, "steps": steps, "plugins_dir": plugins_dir, "settings": settings}
    return type("TestSolver", (SolverConformance,), values)
