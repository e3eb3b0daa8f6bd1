"""The table that people look for: by problem and method, how often a target was reached, at what expected cost."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from usd_bench.analysis.statistics import median, rate
from usd_bench.analysis.targets import cost_to_target, expected_cost


def summary(runs: pd.DataFrame, trace: pd.DataFrame, target: float, cost: str = "time_solve_s") -> pd.DataFrame:
    """A row for each ``instance`` and ``method``, by rising expected cost: ``runs``, ``solved``, ``rate_low``,
    ``rate_high`` (Wilson), ``expected`` (infinite without a success), ``ratio`` to the best of the instance,
    ``residual`` (median, infinite for failures) and ``digits`` (median of those known, else NaN).

    ``runs``, ``trace``: see ``frames``.
    """
    reached = cost_to_target(trace, target, cost=cost) if len(trace) else pd.Series(dtype=float)
    rows = []
    for (instance, method), group in runs.groupby(["instance", "method"]):
        costs = reached.reindex(group["run_id"], fill_value=math.inf).to_numpy()
        in_all = group[cost].astype(float).fillna(0.0).to_numpy()
        solved = int(np.isfinite(costs).sum())
        interval = rate(solved, len(group))
        digits = group["lam_digits"].astype(float).dropna()
        rows.append(
            {
                "instance": instance,
                "method": method,
                "runs": len(group),
                "solved": solved,
                "rate_low": interval.low,
                "rate_high": interval.high,
                "expected": expected_cost(costs, in_all),
                "residual": median(group["residual"].tolist()).value,
                "digits": float(digits.median()) if len(digits) else math.nan,
            }
        )
    found = pd.DataFrame(rows).sort_values(["instance", "expected", "residual"], kind="stable", ignore_index=True)
    best = found.groupby("instance")["expected"].transform("min")
    found["ratio"] = np.where(np.isfinite(found["expected"]), found["expected"] / best, math.inf)
    return found
