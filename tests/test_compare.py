"""Comparing stores, commits and methods: ratios of pairs, words where intervals allow them, refusals with reasons."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import one_line_error
from usd_bench.analysis.compare import NotComparable, compare
from usd_bench.store.writer import write_run


def row(seed: int, time: float = 1.0, residual: float = 1e-6, **values):
    shown = {"hidden": values.pop("hidden", "8x8")}
    target = values.pop("target", 1e-5)
    return {
        "run_id": f"{seed}-{time}-{residual}-{shown['hidden']}-{values.get('solver')}-{values.get('commit')}",
        "problem": "burgers",
        "parameters": '{"order": 0}',
        "solver": "adam",
        "config": json.dumps(shown),
        "seed": seed,
        "budget": json.dumps({"until": {"res_max": target}, "max_time": 9.0}),
        "status": "converged" if residual <= target else "budget",
        "reason": "r",
        "time_solve_s": time,
        "res_max": residual,
        "cond_max": 1e-12,
        "lam_digits": 5.0,
        "dtype": "float64",
        "device": "cpu",
        "threads": 1,
        "commit": "aaaa1111",
        "started_at": datetime.now(UTC),
    } | values


def test_twice_the_time_on_every_seed_is_slower() -> None:
    (found,) = compare([row(s, 1.0 + s) for s in range(4)], [row(s, 2.0 * (1 + s)) for s in range(4)])
    assert (found.instance, found.method, found.pairs, found.solved) == ("burgers[order=0]", "adam", 4, (4, 4))
    assert (found.time.value, found.time.low, found.time.high) == pytest.approx((2, 2, 2))
    assert found.verdict == ("slower",)
    assert found.regressed


def test_where_the_interval_holds_one_there_is_no_word() -> None:
    first, second = [row(s) for s in range(4)], [row(s, t) for s, t in enumerate((0.5, 0.9, 1.2, 3.0))]
    (found,) = compare(first, second)
    assert found.time.low < 1 < found.time.high
    assert found.verdict == ()
    assert not found.regressed


def test_of_a_single_pair_nothing_is_said() -> None:
    (found,) = compare([row(0)], [row(0, 9.0)])
    assert found.time.value == 9.0
    assert found.verdict == ()


def test_short_of_the_target_residuals_are_compared_and_lost_successes_named() -> None:
    first = [row(0), row(1), row(2, residual=1e-3)]
    second = [row(s, residual=1e-2, lam_digits=3.5) for s in range(3)]
    (found,) = compare(first, second)
    assert found.solved == (2, 0)
    assert math.isnan(found.time.value)
    assert found.residual.value == pytest.approx(1e4)
    assert found.digits == -1.5
    assert set(found.verdict) == {"less accurate", "fails more often"}


def test_a_run_that_measured_nothing_is_a_failure_in_its_pair() -> None:
    none = {"res_max": None, "cond_max": None, "lam_digits": None, "status": "error"}
    (found,) = compare([row(0), row(1)], [row(0) | none, row(1)])
    assert found.solved == (2, 1)
    assert found.pairs == 2
    assert "fails more often" in found.verdict


@pytest.mark.parametrize(
    ("second", "word"),
    [
        ([row(0, target=1e-4)], "targets differ"),
        ([row(0, dtype="float32")], "number formats differ"),
        ([row(0, problem="ccf")], "no pairing"),
        ([row(7)], "no seed"),
        ([row(0), row(0, 3.0)], "two runs"),
        ([], "no pairing"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(second, word: str) -> None:
    with pytest.raises(NotComparable, match=word):
        compare([row(0)], second)


def stored(out: Path, *rows) -> None:
    for one in rows:
        write_run(out, one, [], {})


def test_stores_commits_and_methods_are_compared_from_the_command_line(cli, tmp_path: Path) -> None:
    stored(tmp_path / "old", *(row(s) for s in range(3)))
    stored(tmp_path / "new", *(row(s, 3.0) for s in range(3)))
    done = cli("compare", "old", "new")
    assert done.returncode == 0
    assert "slower" in done.stdout
    assert cli("compare", "old", "new", "--fail-on", "regression").returncode == 1
    assert cli("compare", "new", "old", "--fail-on", "regression").returncode == 0
    both = tmp_path / "results"
    stored(both, *(row(s) for s in range(3)), *(row(s, 0.5, commit="bbbb2222") for s in range(3)))
    (found,) = json.loads(cli("compare", "aaaa", "bbbb2222", "--json").stdout)
    assert found["time"]["value"] == 0.5
    assert found["verdict"] == ["faster"]
    methods = tmp_path / "methods"
    stored(methods, *(row(s) for s in range(3)), *(row(s, 2.0, solver="lbfgs", hidden="9x9") for s in range(3)))
    assert "adam → lbfgs" in cli("compare", "adam", "lbfgs[hidden=9x9]", "--out", "methods").stdout


def test_unknown_sides_and_mixed_kinds_are_one_line(cli, tmp_path: Path) -> None:
    stored(tmp_path / "results", row(0))
    assert "no store, and no commit or solver" in one_line_error(cli("compare", "adam", "lbfgs"))
    assert "give two of a kind" in one_line_error(cli("compare", "adam", "aaaa1111"))
    (tmp_path / "empty").mkdir()
    assert "no store: it has no runs/" in one_line_error(cli("compare", "empty", "results"))
    stored(tmp_path / "other", row(0, target=1e-2))
    assert "targets differ" in one_line_error(cli("compare", "results", "other"))
