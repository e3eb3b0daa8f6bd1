"""Performance and data profiles: over many problems, how often a method is within a factor, or a budget, of solving.

``costs``: a frame with a row for each problem (and seed) and a column for each method, infinite where it failed. A
profile on fewer columns or rows is another profile: ratios are to the best of those given.
"""

from __future__ import annotations

import numpy as np
import pandas as pd


def performance_profile(costs: pd.DataFrame) -> pd.DataFrame:
    """ρ(τ): the share of rows in which each method costs at most τ times the cheapest. Index τ ≥ 1: where it steps.

    A row that no method solves counts in the denominator. Raises ``ValueError`` for NaN or negative costs.
    Source: Dolan & Moré, Math. Program. 91 (2002) 201, eq. (2.1).
    """
    values = _checked(costs)
    best = values.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = values / best
    ratios[(values == 0) & (best == 0)] = 1.0
    ratios[np.isinf(values)] = np.inf
    return _steps(ratios, costs.columns, first=1.0)


def data_profile(costs: pd.DataFrame, unit: pd.Series | None = None) -> pd.DataFrame:
    """d(α): the share of rows that each method solves within α units; ``unit``: of each row, as the cost of n+1
    evaluations, else 1. Source: Moré & Wild, SIAM J. Optim. 20 (2009) 172, eq. (2.10).
    """
    values = _checked(costs)
    if unit is not None:
        values = values / unit.to_numpy(dtype=float)[:, None]
    return _steps(values, costs.columns, first=0.0)


def _checked(costs: pd.DataFrame) -> np.ndarray:
    values = costs.to_numpy(dtype=float)
    if np.isnan(values).any() or (values < 0).any():
        raise ValueError("costs must be non-negative, and infinite where a method failed; NaN is no failure")
    if not values.size:
        raise ValueError("a profile needs problems and methods")
    return values


def _steps(values: np.ndarray, columns: pd.Index, first: float) -> pd.DataFrame:
    at = np.unique(np.append(values[np.isfinite(values)], first))
    shares = (values[None] <= at[:, None, None]).mean(axis=1)
    return pd.DataFrame(shares, index=pd.Index(at, name="within"), columns=columns)
