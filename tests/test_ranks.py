"""Average ranks and the critical-difference diagram, beside hand-worked examples and published values."""

from __future__ import annotations

from math import exp, inf, nan, sqrt
from pathlib import Path

import pandas as pd
import pytest

from tests.test_compare import row
from usd_bench.analysis.frames import runs_frame
from usd_bench.analysis.ranks import ranks, scores
from usd_bench.drawing import drawn
from usd_bench.report.comparisons import ranks_figure
from usd_bench.store.writer import write_run


def test_ties_and_failures_share_the_mean_of_their_ranks() -> None:
    table = pd.DataFrame({"a": [1.0, 1.0, 1.0, 2.0], "b": [2.0, 2.0, inf, 1.0], "c": [3.0, 3.0, inf, inf]})
    found = ranks(table)
    assert found.average.to_dict() == {"a": 5 / 4, "b": 7.5 / 4, "c": 11.5 / 4}
    assert found.problems == 4
    # q = 2.343 for three methods: Demšar 2006, table 5(a), three decimals
    assert found.critical == pytest.approx(2.343 * sqrt(3 * 4 / (6 * 4)), rel=5e-4)


@pytest.mark.parametrize(("methods", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_the_published_one(methods: int, q: float) -> None:
    table = pd.DataFrame([list(range(methods)), list(range(methods))])
    assert ranks(table).critical == pytest.approx(q * sqrt(methods * (methods + 1) / 12), rel=5e-4)


def test_friedmans_statistic_is_the_hand_worked_one() -> None:
    # Rank sums 5, 10, 9 of 4 problems: χ² = 12 (25 + 100 + 81) / (4·3·4) - 3·4·4 = 3.5, two degrees of freedom.
    table = pd.DataFrame({"a": [1, 1, 1, 2], "b": [3, 2, 2, 3], "c": [2, 3, 3, 1]})
    assert ranks(table).p_value == pytest.approx(exp(-3.5 / 2))
    assert ranks(table * 0).p_value == 1.0


@pytest.mark.parametrize("table", [{"a": [1.0, 2.0], "b": [2.0, 1.0]}, {"a": [1.0], "b": [2.0], "c": [3.0]}])
def test_too_few_methods_or_problems_have_no_ranks(table: dict) -> None:
    with pytest.raises(ValueError, match="three methods on two problems"):
        ranks(pd.DataFrame(table))


def test_nan_is_no_failure() -> None:
    with pytest.raises(ValueError, match="NaN"):
        ranks(pd.DataFrame({"a": [1, nan], "b": [1, 2], "c": [1, 3]}))


def test_scores_are_medians_of_the_methods_that_ran_on_the_same_problems() -> None:
    rows = []
    ran = {"burgers": "abc", "ccf": "abc", "ipm": "ab", "hou_luo": "abc", "toy_ipm": "defghijklm"}
    for problem, solvers in ran.items():
        for solver in solvers:
            for seed, residual in enumerate((1e-3, 1e-5, None) if (solver, problem) == ("c", "ccf") else (1e-4,)):
                values = {"problem": problem, "solver": solver, "cond_max": 0.0, "iterations": 1, "in_bracket": True}
                rows.append(row(seed, 1.0, **values) | {"res_max": residual})
    found = scores(runs_frame(rows))
    assert found.index.tolist() == ["burgers[order=0]", "ccf[order=0]", "hou_luo[order=0]"]
    assert found.columns.tolist() == ["a", "b", "c"]
    assert found.loc["ccf[order=0]"].tolist() == [1e-4, 1e-4, 1e-3]


def test_the_diagram_names_every_method_and_is_the_same_for_the_same_ranks() -> None:
    table = pd.DataFrame({f"method {i}": [i, i + 1.0, i, i] for i in range(6)})
    one, two = (drawn(ranks_figure("six methods", ranks(table)), "svg") for _ in range(2))
    assert one == two
    assert all(f"method {i}" in one.decode() for i in range(6))


def test_the_command_draws_ranks_and_says_what_it_left_out(cli, tmp_path: Path) -> None:
    for problem, solvers in {"burgers": "abc", "ccf": "abc", "ipm": "a"}.items():
        for i, solver in enumerate(solvers):
            values = {"run_id": f"{problem} {solver}", "problem": problem, "solver": solver, "iterations": 1}
            write_run(tmp_path / "results", row(0, residual=10.0 ** (i - 6), **values), [], {"cpu": "Test CPU"})
    done = cli("report", "--ranks", str(tmp_path / "ranks.svg"))
    assert done.returncode == 0, done.stderr
    assert "problems ipm[order=0]" in done.stderr
    assert "methods" not in done.stderr.replace("every method", "")
    assert [line.split() for line in done.stdout.splitlines()[1:4]] == [["a", "1.00"], ["b", "2.00"], ["c", "3.00"]]
    assert "Friedman p = 0.14; ranks differ from 2.34 on" in done.stdout  # χ² = 4 with two degrees of freedom: e⁻²
    assert (tmp_path / "ranks.svg").read_text().startswith("<?xml")
    wrong = cli("report", "--ranks", "ranks.gif")
    assert wrong.returncode == 2
    assert ".svg, .pdf, .png" in wrong.stderr
