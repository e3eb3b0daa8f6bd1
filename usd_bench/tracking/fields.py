"""The picture of a profile that trackers are given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from usd_bench.drawing import draw_fields, pyplot
from usd_bench.problem import Problem
from usd_bench.profile import Profile, on_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def fields_figure(problem: Problem, profile: Profile) -> Iterator[Figure]:
    """Each field on the problem's grid (1-D or 2-D); closed afterwards."""
    axes = problem.grid(max(64, problem.recommended.grid))
    fields = on_grid(profile, axes)
    plt = pyplot()
    figure, panels = plt.subplots(1, len(fields), figsize=(5 * len(fields), 4), layout="constrained", squeeze=False)
    figure.suptitle(f"λ = {profile.lam:.10f}")
    try:
        draw_fields(figure, panels[0], problem.coords, axes, fields)
        yield figure
    finally:
        plt.close(figure)
