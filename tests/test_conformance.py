"""The suites for plugin authors: what comes from the templates passes, and each broken point of a contract is named."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import one_line_error
from usd_bench.scaffold import create
from usd_bench.testing import problem_conformance, solver_conformance

REGISTER = """

from usd_bench.hookspecs import hookimpl


@hookimpl
def register_{kind}s(register):
    register("mine", Mine, summary="a mutant")
"""

SLOW = ("test_the_harness_runs_it",)


def plugin(folder: Path, kind: str, *change: str) -> Path:
    """The template as a plugin in one file, with one text in the place of another."""
    create(kind, "mine", folder / "made")
    text = (folder / "made" / "usd_mine" / "mine.py").read_text(encoding="utf-8") + REGISTER.format(kind=kind)
    if change:
        old, new = change
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
        text = text.replace(old, new)
    (folder / "plugins").mkdir()
    (folder / "plugins" / f"mine_{folder.name}.py").write_text(text, encoding="utf-8")
    return folder / "plugins"


def failures(suite: type, folder: Path, only: str = "test_") -> list[str]:
    """The names of the tests that fail, without the one that starts a process; ``only``: how they begin."""
    failed = []
    for name, method in inspect.getmembers(suite, inspect.isfunction):
        if not name.startswith(only) or name in SLOW or getattr(method, "pytestmark", None):
            continue
        with pytest.MonkeyPatch.context() as patch:
            given = {"tmp_path": folder, "monkeypatch": patch}
            wanted = {key: given[key] for key in inspect.signature(method).parameters if key in given}
            try:
                method(suite(), **wanted)
            except pytest.skip.Exception:
                pass
            except Exception:
                failed.append(name)
    return failed


SOLVER_MUTANTS = {
    "test_it_says_what_it_is": ("    Source: Nocedal", "    From: Nocedal"),
    "test_it_supports_the_problem_and_refuses_with_a_reason": ("        return None\n", '        return ""\n'),
    "test_a_step_is_one_iteration_and_its_work_is_counted": (
        "jacobian=work.jacobian + 1,\n",
        "jacobian=work.jacobian - 1,\n",
    ),
    "test_a_step_leaves_the_state_before_it_as_it_was": (
        "            theta=state.theta + step,",
        "            theta=state.theta.add_(step),",
    ),
    "test_a_state_comes_back_from_a_checkpoint_and_goes_on_with_the_same_bits": (
        "        step = torch.linalg.solve(gram, -jacobian.T @ r)",
        "        self.calls = getattr(self, 'calls', 0) + 1\n"
        "        step = torch.linalg.solve(gram, -jacobian.T @ r) / self.calls",
    ),
    "test_equal_seeds_have_equal_bits_whatever_the_global_generators_say": (
        "        generator = torch.Generator().manual_seed(seed)",
        "        generator = torch.Generator().manual_seed(int(torch.randint(10**9, ())))",
    ),
    "test_a_profile_comes_back_from_its_tensors": (
        'return MineProfile(self, problem, tensors["theta"])',
        'return MineProfile(self, problem, tensors["theta"].round(decimals=6))',
    ),
    "test_its_fields_are_double_precision_and_have_true_derivatives": (
        "theta, points = self._theta.to(x.device), self._problem.points(x)",
        "theta, points = self._theta.to(x.device), self._problem.points(x.detach())",
    ),
    "test_it_never_asks_for_the_held_out_points": (
        "        points = problem.collocation(self.config.points, generator).to(device)",
        "        points = problem.evaluation()[::9].to(device)",
    ),
    "test_it_leaves_the_problem_as_it_is": (
        "        def residual(theta: Tensor) -> Tensor:\n",
        "        problem.evaluation = lambda points=state.points: points\n"
        "        def residual(theta: Tensor) -> Tensor:\n",
    ),
    "test_its_residual_falls": ("theta=state.theta + step,", "theta=state.theta - 1e-3 * step,"),
}

PROBLEM_MUTANTS = {
    "test_it_says_what_it_is": ("    Source: Brenner", "    From: Brenner"),
    "test_every_equation_has_a_residual_and_a_positive_scale": ("1 / (1 + x.z)}", "(x.z - 1) / (1 + x.z)}"),
    "test_the_residual_is_pointwise": ("        dilation = u.Q +", "        dilation = u.Q.mean() + 0 * u.Q +"),
    "test_the_residual_is_differentiable_in_jets_and_lam": ("- 3 * u.Q**2}", "- 3 * u.Q * u.Q.detach()}"),
    "test_every_field_is_read": ('Field("Q", "z", "zz"),)', 'Field("Q", "z", "zz"), Field("P", "z"))'),
    "test_features_are_bounded_and_smooth": ("return (2 / (1 + x.z) - 1,)", "return (4 / (1 + x.z) - 1,)"),
    "test_conditions_are_measured_where_they_hold": (
        'Condition("Q(0) = 2: the stable profile", "normalisation", origin, lambda u, x, lam: u.Q - 2)',
        'Condition("Q(0) = 2: the stable profile", "normalisation", origin, lambda u, x, lam: u.Q / 0)',
    ),
    "test_points_are_drawn_by_the_generator_and_lie_inside": (
        "torch.rand(n, generator=generator, dtype=torch.float64)",
        "torch.full((n,), 0.5, dtype=torch.float64)",
    ),
    "test_held_out_points_are_fixed_and_are_no_collocation_points": (
        "return (1 / axis(FAR, 1, 997) - 1)[:, None]",
        "return (1 / (FAR + (1 - FAR) * torch.rand(997, dtype=torch.float64)) - 1)[:, None]",
    ),
    "test_every_known_answer_has_a_source_and_lies_in_the_bracket": ('"exact: by dimension"', '""'),
    "test_the_reference_solves_the_equation_and_a_changed_one_does_not": ('{"Q": 4 / (2 +', '{"Q": 4.001 / (2 +'),
}


def test_the_templates_keep_every_point_of_their_contracts(tmp_path: Path) -> None:
    for kind, suite in (("solver", solver_conformance), ("problem", problem_conformance)):
        folder = tmp_path / kind
        folder.mkdir()
        assert failures(suite("mine", plugins_dir=plugin(folder, kind)), folder) == []


@pytest.mark.parametrize("named", SOLVER_MUTANTS)
def test_a_broken_point_of_the_solvers_contract_is_named(tmp_path: Path, named: str) -> None:
    folder = plugin(tmp_path, "solver", *SOLVER_MUTANTS[named])
    assert failures(solver_conformance("mine", plugins_dir=folder), tmp_path, named) == [named]


@pytest.mark.parametrize("named", PROBLEM_MUTANTS)
def test_a_broken_point_of_the_problems_contract_is_named(tmp_path: Path, named: str) -> None:
    folder = plugin(tmp_path, "problem", *PROBLEM_MUTANTS[named])
    assert failures(problem_conformance("mine", plugins_dir=folder), tmp_path, named) == [named]


@pytest.mark.parametrize("name", ["gauss_newton", "ssbroyden", "spectral_newton"])
def test_built_in_solvers_keep_their_contract(name: str, tmp_path: Path) -> None:
    settings = {} if name == "spectral_newton" else {"hidden": "6x5", "points": 60}
    steps = 8 if name == "spectral_newton" else 30
    assert failures(solver_conformance(name, steps=steps, **settings), tmp_path) == []


@pytest.mark.parametrize("name", ["burgers", "ccf", "ipm", "boussinesq", "hou_luo", "gclm"])
def test_built_in_problems_keep_their_contract(name: str, tmp_path: Path) -> None:
    assert failures(problem_conformance(name), tmp_path) == []


@pytest.mark.parametrize("kind", ["solver", "problem"])
def test_a_new_plugin_is_a_package_that_passes_its_own_tests(cli, tmp_path: Path, kind: str) -> None:
    done = cli("new", kind, "my_own", "--into", "made")
    assert done.returncode == 0, done.stderr
    assert "python -m pytest" in done.stdout
    made, site = tmp_path / "made", tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*install, "--target", site, made], check=True, capture_output=True)
    environment = os.environ | {"PYTHONPATH": str(site)}
    tests = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(tests, cwd=made, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    listed = cli("plugins", "list", env={"PYTHONPATH": str(site)}).stdout
    assert "usd-my-own 0.1.0" in listed


def test_a_name_that_is_none_and_a_folder_that_is_full_are_one_line(cli, tmp_path: Path) -> None:
    for name in ("My-Solver", "1st", "class", "a b", "ünique"):
        assert "cannot be the name of a module" in one_line_error(cli("new", "solver", name))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    assert "with something in it" in one_line_error(cli("new", "solver", "mine", "--into", "full"))
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]
