"""Suites and tuning through the command line: what runs, what comes before what, and where an error is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import one_line_error
from usd_bench.analysis.tuning import Trial, best_of
from usd_bench.registry import Registry
from usd_bench.run.suite import Budgets, read_suite

CONFIGS = Path(__file__).parents[1] / "configs"
ADAM = "adam[hidden=6x5,points=60]"


def suite(folder: Path, text: str) -> Path:
    path = folder / "configs" / "suite" / "mine.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_suite_is_its_pairings_seeds_and_budgets_and_repeats_nothing(cli, rows, tmp_path: Path) -> None:
    text = f"""
seeds: 2
max_iter: 3
runs:
  - problem: [burgers, 'burgers[order=1]']
    solver: '{ADAM}'
  - problem: burgers
    solver: ['{ADAM}', 'lbfgs[hidden=6x5,points=60]']
    seeds: 1
    max_iter: 2
    until: {{res_max: 1e-9}}
"""
    path = suite(tmp_path, text)
    found = rows("--config", str(path))
    assert [(r["order"], r["solver"], r["seed"], r["iterations"]) for r in found] == [
        (0, "adam", 0, 3),
        (0, "adam", 1, 3),
        (1, "adam", 0, 3),
        (1, "adam", 1, 3),
        (0, "adam", 0, 2),
        (0, "lbfgs", 0, 2),
    ]
    assert json.loads(found[-1]["budget"])["until"] == {"res_max": 1e-9}
    again = cli("run", "--config", str(path), "--threads", "1")
    assert "6 of 6 runs are stored" in again.stderr


def test_the_command_line_comes_before_the_item_before_the_head() -> None:
    head, item, said = Budgets(seeds=5, max_time=9.0, max_iter=7), Budgets(seeds=3, max_time=2.0), Budgets(seeds=1)
    assert head.beneath(item).beneath(said) == Budgets(seeds=1, max_time=2.0, max_iter=7)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("seedz: 2\nruns: [{problem: burgers, solver: adam}]", 1, "did you mean 'seed'"),
        ("runs:\n  - problem: burgers\n    solver: adam\n    max_time: soon\n", 4, "max_time"),
        ("runs:\n  - problem: burgers\n    solver: adam\n    until: res_max\n", 4, "metric=number"),
        ("runs:\n  - problem: burgers\n    solver: adam\n  - problem: burgerz\n    solver: adam\n", 4, "burgerz"),
        ("runs:\n  - problem: burgers\n", 2, "solver"),
        ("runs:\n  - {problem: burgers, solver: adam, tuned: true}\n", 2, "usd-bench tune"),
        ("runs: [\n", 2, "not YAML"),
        ("- burgers\n", 1, "expected a mapping"),
        ("runs: []\n", 1, "at least 1"),
    ],
)
def test_what_is_wrong_with_a_suite_is_said_with_its_line(cli, tmp_path: Path, text: str, line: int, word: str) -> None:
    error = one_line_error(cli("run", "--config", str(suite(tmp_path, text))))
    assert f"mine.yaml:{line}: " in error
    assert word in error


def test_a_suite_and_selectors_are_not_both_given(cli, tmp_path: Path) -> None:
    path = suite(tmp_path, "runs: [{problem: burgers, solver: adam}]")
    assert "either" in one_line_error(cli("run", "--config", str(path), "-p", "burgers"))
    assert "--config" in one_line_error(cli("run", "-p", "burgers"))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("suite/*.yaml")), ids=lambda path: path.stem)
def test_every_suite_here_can_be_planned(path: Path) -> None:
    jobs = read_suite(path).jobs(Registry.load(), Budgets(), "cpu")
    assert len({job.run_id for job in jobs}) == len(jobs) > 5


def test_work_is_a_budget(rows) -> None:
    (row,) = rows("-p", "burgers", "-s", "gauss_newton[hidden=6x5,points=60]", "--max-work", "10")
    assert (row["status"], row["reason"]) == ("budget", "12 evaluations of at most 10")
    assert row["n_residual"] + row["n_jacobian"] + row["n_jvp"] + row["n_vjp"] == 12
    assert row["iterations"] == 4


# -- tuning --------------------------------------------------------------------------------------------------------


def test_tuning_writes_the_best_of_a_grid_and_a_suite_uses_it(cli, rows, tmp_path: Path) -> None:
    grid = "adam[hidden=6x5,points=60,learning_rate=[1e-7,1e-2,1e9]]"
    done = cli("tune", "-p", "burgers", "-s", grid, "--max-iter", "30", "--seeds", "2", "--threads", "1")
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load((tmp_path / "configs" / "tuned" / "adam.yaml").read_text(encoding="utf-8"))
    assert written["settings"] == {"hidden": "6x5", "points": "60", "learning_rate": "1e-2"}
    assert written["search"]["seeds"] == [1_000_000, 1_000_001]
    assert len(written["search"]["tried"]) == 3
    assert len(written["search"]["tried"][0]["residuals"]) == 2
    path = suite(tmp_path, "max_iter: 2\nruns: [{problem: burgers, solver: ['adam', 'adam[points=70]'], tuned: true}]")
    configs = [json.loads(row["config"]) for row in rows("--config", str(path))]
    assert [(c["learning_rate"], c["points"]) for c in configs] == [(0.01, 60), (0.01, 70)]


def test_where_every_trial_fails_nothing_is_written(cli, tmp_path: Path) -> None:
    done = cli("tune", "-p", "burgers", "-s", "dynamic_rescaling", "--max-iter", "1", "--seeds", "1")
    assert done.returncode == 1
    assert "every trial failed" in done.stderr
    assert not (tmp_path / "configs").exists()


def test_one_solver_is_tuned_on_one_problem(cli) -> None:
    assert "several solvers" in one_line_error(cli("tune", "-p", "burgers", "-s", "adam,lbfgs"))
    assert "several problems" in one_line_error(cli("tune", "-p", "burgers,ccf", "-s", "adam"))


def test_a_score_is_the_geometric_mean_and_a_failure_is_worst() -> None:
    trials = [Trial({"a": "1"}, (1e-2, 1e-4)), Trial({"a": "2"}, (1e-9, math.inf)), Trial({"a": "3"}, (2e-3, 2e-3))]
    assert trials[0].score == pytest.approx(1e-3)
    assert best_of(trials) is trials[0]
    assert best_of(trials[1:2]) is None
    assert best_of([]) is None


@given(st.lists(st.floats(1e-12, 1e3), min_size=1, max_size=5), st.floats(1e-3, 1e3))
def test_a_score_scales_with_its_residuals(residuals: list[float], factor: float) -> None:
    scaled = Trial({}, tuple(r * factor for r in residuals)).score
    assert scaled == pytest.approx(factor * Trial({}, tuple(residuals)).score, rel=1e-9)
