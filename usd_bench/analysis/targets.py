"""Fixed targets: what a run spends until it first reaches one, and what a method is expected to.

Source: Hansen, Auger, Ros, Mersmann, Tušar & Brockhoff, Optim. Methods Softw. 36 (2021) 114 (COCO), sections 3 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd


def costs_to_target(
    trace: pd.DataFrame, target: float, costs: Sequence[str], measure: str = "residual"
) -> pd.DataFrame:
    """For each run_id of ``trace`` the costs at which ``measure`` is first at most ``target``; infinite if never."""
    reached = trace[trace[measure] <= target].groupby("run_id")[list(costs)].min().astype(float)
    return reached.reindex(trace["run_id"].unique(), fill_value=math.inf)


def cost_to_target(
    trace: pd.DataFrame, target: float, measure: str = "residual", cost: str = "time_solve_s"
) -> pd.Series:
    """The same for one cost."""
    return costs_to_target(trace, target, [cost], measure)[cost]


def expected_cost(reached: np.ndarray, spent: np.ndarray) -> float:
    """ERT: all that was spent until the target or in vain, over the number of successes; infinite without any."""
    successes = np.isfinite(reached)
    if not successes.any():
        return math.inf
    return float(np.where(successes, reached, spent).sum() / successes.sum())


def restarted(reached: np.ndarray, spent: np.ndarray, draws: int = 1000) -> np.ndarray:
    """Costs (draws,) of reaching the target by runs drawn with replacement, one after the other until one succeeds, in
    ascending order; infinite where none ever does.
    """
    if not np.isfinite(reached).any():
        return np.full(draws, math.inf)
    rng, total, open_ = np.random.default_rng(0), np.zeros(draws), np.ones(draws, dtype=bool)
    while open_.any():
        chosen = rng.integers(len(reached), size=draws)
        success = np.isfinite(reached[chosen])
        total += np.where(open_, np.where(success, reached[chosen], spent[chosen]), 0.0)
        open_ &= ~success
    return np.sort(total)


def ecdf(costs: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The share of ``costs`` that are at most each of ``at``; failures count in the denominator."""
    share: np.ndarray = np.searchsorted(np.sort(costs), at, side="right") / len(costs)
    return share
