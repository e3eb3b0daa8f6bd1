"""The funnel: by hand, and from real runs with λ held."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import one_line_error
from usd_bench.analysis.funnel import funnel


@given(tip=st.floats(0.1, 0.9), slope=st.floats(1e-6, 1e3))
def test_a_funnel_with_straight_sides_is_met_exactly(tip: float, slope: float) -> None:
    found = funnel((lam, slope * abs(lam - tip)) for lam in (1.0, -0.2, 0.0, 1.3))
    assert found.points == sorted(found.points)
    assert found.tip == pytest.approx(tip, abs=1e-9)


def test_the_lowest_residual_at_an_end_shows_no_tip() -> None:
    assert funnel([(0.1, 3.0), (0.2, 2.0), (0.3, 1.0)]).tip is None
    assert funnel([(0.1, 3.0)]).tip is None
    assert funnel([]).points == []


def test_of_several_runs_at_one_lam_the_best_counts() -> None:
    assert funnel([(0.1, 3.0), (0.2, 2.0), (0.2, 0.5), (0.3, 3.0)]).points == [(0.1, 3.0), (0.2, 0.5), (0.3, 3.0)]


def test_runs_with_lam_held_narrow_where_the_profile_is(cli, rows, tmp_path: Path) -> None:
    held = "gauss_newton[lam=fixed,lam_start=[0.22,0.24,0.26,0.28]]"
    rows("-p", "burgers[order=1]", "-s", held, "--max-iter", "40")
    found = json.loads(cli("funnel", "-p", "burgers[order=1]", "--json").stdout)
    assert [lam for lam, _ in found["points"]] == [0.22, 0.24, 0.26, 0.28]
    assert found["tip"] == pytest.approx(0.25, abs=1e-3)
    assert found["known"] == 0.25
    assert (tmp_path / "results" / "funnel.png").stat().st_size > 5000
    assert "narrows at λ = 0.2" in cli("funnel", "-p", "burgers[order=1]").stdout
    assert "λ held" in one_line_error(cli("funnel", "-p", "burgers"))
    assert "2 problems" in one_line_error(cli("funnel", "-p", "burgers[order=[0,1]]"))
