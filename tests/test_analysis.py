"""Profiles, targets and statistics: examples worked by hand, and independent implementations on random data."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usd_bench.analysis.frames import methods_of, runs_frame, trace_frame
from usd_bench.analysis.profiles import data_profile, performance_profile
from usd_bench.analysis.statistics import median, paired, rate
from usd_bench.analysis.targets import cost_to_target, ecdf, expected_cost, restarted
from usd_bench.analysis.work_precision import best_so_far, curve

INF = math.inf
COSTS = st.one_of(st.floats(0.1, 100), st.just(INF))


# -- profiles ------------------------------------------------------------------------------------------------------


def test_a_performance_profile_worked_by_hand() -> None:
    costs = pd.DataFrame({"a": [1.0, 4.0, INF, INF], "b": [2.0, 2.0, 3.0, INF]})
    found = performance_profile(costs)
    assert found.index.tolist() == [1.0, 2.0]
    assert found["a"].tolist() == [0.25, 0.5]  # the fastest once, within a factor 2 twice, of four
    assert found["b"].tolist() == [0.5, 0.75]


def test_a_profile_on_fewer_methods_is_another_profile() -> None:
    costs = pd.DataFrame({"a": [1.0, 8.0], "b": [4.0, 4.0], "c": [1.0, 1.0]})
    alone = performance_profile(costs[["a", "b"]])
    assert alone.loc[1.0].tolist() == [0.5, 0.5]
    assert performance_profile(costs).loc[1.0].tolist() == [0.5, 0.0, 1.0]


def test_a_data_profile_worked_by_hand() -> None:
    costs = pd.DataFrame({"a": [10.0, 30.0, INF], "b": [20.0, INF, 90.0]})
    found = data_profile(costs, pd.Series([10.0, 10.0, 30.0]))
    assert found.index.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert found["a"].tolist() == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3])
    assert found["b"].tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3])


@given(st.lists(st.tuples(COSTS, COSTS, COSTS), min_size=1, max_size=12), st.floats(1, 50))
def test_a_performance_profile_is_what_its_definition_counts(rows: list[tuple[float, ...]], tau: float) -> None:
    costs = pd.DataFrame(rows, columns=list("abc"))
    found = performance_profile(costs)
    at = found[found.index <= tau].iloc[-1]
    for column, name in enumerate("abc"):
        within = sum(row[column] < INF and row[column] <= tau * min(row) * (1 + 1e-15) for row in rows)
        assert at[name] == pytest.approx(within / len(rows), abs=1.01 / len(rows) if _on_the_edge(rows, tau) else 1e-12)
    assert (found.diff().dropna().to_numpy() >= 0).all()


def _on_the_edge(rows: list[tuple[float, ...]], tau: float) -> bool:
    ratios = [value / min(row) for row in rows for value in row if value < INF]
    return any(abs(ratio - tau) < 1e-9 * tau for ratio in ratios)


@pytest.mark.parametrize("bad", [math.nan, -1.0])
def test_what_is_no_cost_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN is no failure"):
        performance_profile(pd.DataFrame({"a": [1.0, bad]}))


def test_a_cost_of_nothing_is_the_cheapest_and_alone_within_any_factor() -> None:
    found = performance_profile(pd.DataFrame({"a": [0.0], "b": [1.0], "c": [0.0]}))
    assert found.loc[1.0].tolist() == [1.0, 0.0, 1.0]


# -- targets -------------------------------------------------------------------------------------------------------


def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    runs = [
        {
            "run_id": run_id,
            "problem": "burgers",
            "parameters": '{"order": 0}',
            "solver": solver,
            "config": json.dumps({"rate": 1, "width": width}),
            "seed": seed,
            "lam_ref": 0.5,
            "iterations": 8,
            "res_max": 1e-3,
            "cond_max": 1e-9,
            "in_bracket": run_id != "q",
        }
        for run_id, solver, width, seed in (("p", "adam", 8, 0), ("q", "adam", 9, 0), ("r", "lbfgs", 8, 1))
    ]
    trace = [
        {
            "run_id": run_id,
            "iteration": i,
            "lam": lam,
            "res_max": residual,
            "cond_max": 1e-9,
            "err_max": None,
            "n_residual": 2 * i,
            "n_jacobian": i,
            "n_jvp": 0,
            "n_vjp": 0,
            "time_solve_s": float(i),
            "in_bracket": inside,
        }
        for run_id, i, lam, residual, inside in (
            ("q", 4, 0.75, math.nan, True),
            ("p", 0, 1.0, 1.0, True),
            ("p", 4, 0.5, 0.01, None),
            ("p", 2, 0.6, 0.1, True),
            ("q", 0, 1.0, 1.0, True),
            ("q", 2, 3.0, 1e-9, False),
            ("r", 0, 1.0, 0.5, True),
            ("r", 8, 0.5, 1e-12, True),
        )
    ]
    known = runs_frame(runs)
    return known, trace_frame(known, pd.DataFrame(trace))


def test_runs_are_named_by_the_settings_that_tell_them_apart() -> None:
    runs, trace = frames()
    assert runs["instance"].tolist() == ["burgers[order=0]"] * 3
    assert runs["method"].tolist() == ["adam[width=8]", "adam[width=9]", "lbfgs"]
    assert methods_of([]) == []
    assert runs["residual"].tolist() == [1e-3, INF, 1e-3]  # the second is of another branch
    assert trace[trace["run_id"] == "p"]["iteration"].tolist() == [0, 2, 4]
    assert trace[trace["run_id"] == "p"]["work"].tolist() == [0, 6, 12]
    assert trace[trace["run_id"] == "r"]["residual"].tolist() == [0.5, 1e-9]  # a side condition counts
    assert trace[trace["run_id"] == "q"]["residual"].tolist() == [1.0, INF, INF]  # another branch, then no number
    assert trace["err_max"].tolist() == [INF] * 8
    assert trace[trace["run_id"] == "p"]["lam_error"].tolist() == pytest.approx([1.0, 0.2, 0.0])


def test_the_cost_of_a_target_is_that_of_the_first_evaluation_that_meets_it() -> None:
    _, trace = frames()
    assert cost_to_target(trace, 0.1).to_dict() == {"p": 2.0, "q": INF, "r": 8.0}
    assert cost_to_target(trace, 0.1, cost="work").to_dict() == {"p": 6.0, "q": INF, "r": 24.0}
    assert cost_to_target(trace, 0.3, "lam_error").to_dict() == {"p": 2.0, "q": INF, "r": 8.0}


def test_the_expected_cost_counts_what_was_spent_in_vain() -> None:
    reached, total = np.array([2.0, INF, 4.0, INF]), np.array([9.0, 10.0, 9.0, 20.0])
    assert expected_cost(reached, total) == (2 + 10 + 4 + 20) / 2
    assert expected_cost(np.array([INF]), np.array([3.0])) == INF


def test_restarts_cost_on_average_what_is_expected_and_never_less_than_the_fastest_success() -> None:
    reached, total = np.array([2.0, INF, 4.0]), np.array([5.0, 7.0, 5.0])
    found = restarted(reached, total, draws=40_000)
    assert found.mean() == pytest.approx(expected_cost(reached, total), rel=0.02)
    assert set(np.unique(found)) <= {7.0 * n + end for n in range(60) for end in (2.0, 4.0)}
    assert np.isinf(restarted(np.array([INF]), np.array([1.0]))).all()


@given(st.lists(COSTS, min_size=1, max_size=20), st.floats(0, 120))
def test_an_ecdf_counts_failures_in_its_denominator(costs: list[float], at: float) -> None:
    assert ecdf(np.array(costs), np.array([at]))[0] == pytest.approx(sum(c <= at for c in costs) / len(costs))


# -- work and precision --------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 10), COSTS), min_size=1, max_size=10), st.floats(0, 12))
def test_the_best_so_far_is_the_minimum_of_what_was_seen(pairs: list[tuple[float, float]], at: float) -> None:
    pairs = sorted(pairs)
    found = best_so_far(np.array([c for c, _ in pairs]), np.array([v for _, v in pairs]), np.array([at]))[0]
    assert found == min([v for c, v in pairs if c <= at], default=INF)


def test_a_curve_is_the_median_of_running_minima_with_failures_as_infinity() -> None:
    parts = {"x": [(1.0, 0.5), (2.0, 0.9), (4.0, 0.1)], "y": [(1.0, 0.3), (4.0, 0.3)], "z": [(4.0, INF)]}
    trace = pd.DataFrame(
        [{"run_id": k, "time_solve_s": c, "residual": v} for k, rows in parts.items() for c, v in rows]
    )
    found = curve(trace, "residual", "time_solve_s", points=3)
    assert found["cost"].tolist() == [1.0, 2.0, 4.0]
    assert found["value"].tolist() == [0.5, 0.5, 0.3]
    assert found["high"].tolist() == [INF] * 3
    assert found["low"].tolist() == [0.3, 0.3, 0.1]
    assert curve(trace.head(0), "residual", "time_solve_s").empty


# -- statistics ----------------------------------------------------------------------------------------------------


def test_wilsons_interval_of_textbook_counts() -> None:
    found = rate(8, 10)
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert rate(0, 5).low == 0
    assert rate(0, 5).high == pytest.approx(0.4345, abs=1e-4)
    assert rate(5, 5).high == 1
    with pytest.raises(ValueError, match="0 runs"):
        rate(0, 0)


@given(st.integers(1, 60), st.data())
def test_wilsons_interval_solves_its_quadratic(runs: int, data) -> None:
    successes = data.draw(st.integers(0, runs))
    found, z = rate(successes, runs), 1.959963984540054
    for bound in (found.low, found.high):
        if 0 < bound < 1:
            assert (found.value - bound) ** 2 == pytest.approx(z * z * bound * (1 - bound) / runs, rel=1e-6, abs=1e-12)
    assert found.low - 1e-12 <= found.value <= found.high + 1e-12


def test_the_bootstrap_of_three_values_knows_their_distribution() -> None:
    """All 27 samples: the median is the smallest with probability 7/27, so the interval spans all three."""
    medians = [sorted(sample)[1] for sample in itertools.product((1.0, 2.0, 5.0), repeat=3)]
    assert medians.count(1.0) == 7
    found = median([5.0, 1.0, 2.0])
    assert (found.value, found.low, found.high) == (2.0, 1.0, 5.0)


def test_failures_are_infinite_medians_and_nan_is_refused() -> None:
    assert median([1.0, INF, INF]).value == INF
    assert median([1.0, 2.0, INF]).value == 2.0
    assert median([1.0, 2.0, INF]).high == INF
    for bad in ([], [1.0, math.nan]):
        with pytest.raises(ValueError, match="NaN is no measurement"):
            median(bad)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=9), st.floats(0.5, 4))
def test_a_constant_factor_is_found_exactly(values: list[float], factor: float) -> None:
    found = paired(values, [v * factor for v in values])
    assert found.ratio.value == pytest.approx(factor, rel=1e-12)
    assert found.ratio.low == pytest.approx(factor, rel=1e-12)
    assert found.pairs == len(values)


def test_a_failure_is_worse_than_any_value_and_two_tie() -> None:
    better = paired([1.0] * 8, [0.5] * 8).p_value
    assert better == pytest.approx(2 / 2**8)
    assert paired([INF] * 8, [0.5] * 8).p_value == pytest.approx(2 / 2**8)
    assert math.isnan(paired([INF, 1.0], [INF, 1.0]).p_value)
    assert math.isnan(paired([INF], [1.0]).ratio.value)
    with pytest.raises(ValueError, match="same seeds"):
        paired([1.0], [1.0, 2.0])
