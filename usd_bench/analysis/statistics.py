"""Medians, rates and paired differences, with intervals. Infinity is a value (a failure); NaN is an error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
"""Of every interval."""

DRAWS = 2000
"""Bootstrap samples."""


@dataclass(frozen=True)
class Estimate:
    """A value with an interval."""

    value: float
    low: float
    high: float


def median(values: Sequence[float], level: float = LEVEL, draws: int = DRAWS) -> Estimate:
    """The median, with a percentile bootstrap interval. Where half of the runs failed, it is infinite.

    Raises ``ValueError`` for no values, or for NaN. Source: Efron & Tibshirani, An Introduction to the Bootstrap
    (1993), section 13.3.
    """
    return Estimate(*(float(bound[0]) for bound in medians(_checked(values)[:, None], level, draws)))


def medians(values: np.ndarray, level: float = LEVEL, draws: int = DRAWS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for each column of ``values`` (n, columns), rows drawn together: medians, lower and upper bounds."""
    chosen = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
    found = np.median(values[chosen], axis=1)
    # Order statistics, not interpolation between them: half of infinity is infinity.
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0, method="inverted_cdf")
    return np.median(values, axis=0), low, high


def rate(successes: int, runs: int, level: float = LEVEL) -> Estimate:
    """A success rate with Wilson's interval. Raises ``ValueError`` without runs.

    Source: Wilson, J. Amer. Statist. Assoc. 22 (1927) 209; Brown, Cai & DasGupta, Statist. Sci. 16 (2001) 101.
    """
    if not 0 <= successes <= runs or runs == 0:
        raise ValueError(f"{successes} successes of {runs} runs")
    z = float(stats.norm.ppf((1 + level) / 2))
    p, shrink = successes / runs, 1 / (1 + z * z / runs)
    centre = (p + z * z / (2 * runs)) * shrink
    half = z * math.sqrt(p * (1 - p) / runs + z * z / (4 * runs * runs)) * shrink
    return Estimate(p, max(0.0, centre - half), min(1.0, centre + half))


@dataclass(frozen=True)
class Paired:
    """How the second of two methods compares with the first on the same seeds."""

    pairs: int
    ratio: Estimate
    """Median of second / first, both finite."""
    p_value: float
    """Of Wilcoxon's signed-rank test on all pairs; NaN where nothing differs or there are no pairs."""


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Positive values pair by pair. Two failures tie; a failure is worse than any value.

    Raises ``ValueError`` for different lengths, NaN, or values that are not positive. Source: Wilcoxon,
    Biometrics Bull. 1 (1945) 80; zeros: Pratt, J. Amer. Statist. Assoc. 54 (1959) 655.
    """
    a, b = _checked(first), _checked(second)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values beside {len(b)}: pairs need the same seeds")
    if (a <= 0).any() or (b <= 0).any():
        raise ValueError("ratios need positive values")
    both = np.isfinite(a) & np.isfinite(b)
    ratio = median((b[both] / a[both]).tolist()) if both.any() else Estimate(math.nan, math.nan, math.nan)
    steps = np.zeros(len(a))
    steps[both] = np.log(b[both] / a[both])
    beyond = 1 + np.abs(steps).max(initial=0.0)  # a failure ranks above every finite difference
    steps[np.isinf(b) & np.isfinite(a)] = beyond
    steps[np.isinf(a) & np.isfinite(b)] = -beyond
    p = float(stats.wilcoxon(steps, zero_method="pratt").pvalue) if steps.any() else math.nan
    return Paired(len(a), ratio, p)


def _checked(values: Sequence[float]) -> np.ndarray:
    x = np.asarray(values, dtype=float)
    if not len(x) or np.isnan(x).any():
        raise ValueError("expected numbers, at least one; NaN is no measurement")
    return x
