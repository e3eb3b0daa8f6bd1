"""The asv suite runs as asv would run it: broken benchmarks are found here, not in a night's figures."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.suite import gauss_newton, start


@pytest.mark.parametrize("size", [name for name in gauss_newton.SIZES if not name.startswith("ipm")])
def test_every_timed_part_of_an_iteration_runs(size: str) -> None:
    benchmark = gauss_newton.Iteration()
    benchmark.setup(size)
    benchmark.time_jacobian(size)
    benchmark.time_iteration(size)
    benchmark.peakmem_iteration(size)


def test_tracked_iterations_and_seconds_are_those_to_the_target() -> None:
    benchmark = gauss_newton.ToResidual()
    found = {("burgers", 0): benchmark.reached("burgers", 0)}
    iterations = benchmark.track_iterations(found, "burgers", 0)
    assert 10 < iterations < benchmark.most
    assert benchmark.track_seconds(found, "burgers", 0) > 0


@pytest.mark.parametrize("name", ["timeraw_import", "timeraw_help"])
def test_what_is_timed_in_a_process_prints_nothing(name: str) -> None:
    code = getattr(start.Start(), name)()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
