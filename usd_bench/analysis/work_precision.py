"""Work-precision curves: how small a measure becomes for a cost, as medians over seeds with bootstrap bands."""

from __future__ import annotations

import numpy as np
import pandas as pd

from usd_bench.analysis.statistics import medians

POINTS = 60
"""Costs at which a curve is given."""

DRAWS = 500
"""Bootstrap samples of a band, which is looked at and not tested."""


def best_so_far(costs: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The smallest of ``values`` seen at a cost up to each of ``at``, infinite before the first; ``costs`` ascend."""
    running = np.append(np.inf, np.minimum.accumulate(values))
    seen: np.ndarray = running[np.searchsorted(costs, at, side="right")]
    return seen


def curve(trace: pd.DataFrame, measure: str, cost: str, points: int = POINTS) -> pd.DataFrame:
    """One method on one problem: ``cost``, and ``value``, ``low``, ``high`` of the measure over its runs.

    A run that has ended keeps its best; one that measured nothing is infinite throughout.
    """
    positive = trace.loc[trace[cost] > 0, cost]
    if positive.empty:
        return pd.DataFrame(columns=["cost", "value", "low", "high"], dtype=float)
    at = np.geomspace(positive.min(), positive.max(), points)
    at[-1] = positive.max()
    runs = [
        best_so_far(part[cost].to_numpy(dtype=float), part[measure].to_numpy(dtype=float), at)
        for _, part in trace.groupby("run_id", sort=False)
    ]
    value, low, high = medians(np.stack(runs), draws=DRAWS)
    return pd.DataFrame({"cost": at, "value": value, "low": low, "high": high})
