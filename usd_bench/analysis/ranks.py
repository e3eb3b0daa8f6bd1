"""Average ranks of methods over problems, and which of them differ: Friedman's test, Nemenyi's critical difference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
from scipy import stats

ALPHA = 0.05
"""Significance level."""


@dataclass(frozen=True)
class Ranks:
    """How methods rank over the same problems, and how far apart two must be to differ."""

    average: pd.Series
    """By method, the best first; 1 is best, ties share the mean of their ranks."""
    problems: int
    p_value: float
    """Of Friedman's test that all methods are alike; 1 where all tie."""
    critical: float
    """Nemenyi's critical difference of average ranks at ``ALPHA``."""


def scores(runs: pd.DataFrame) -> pd.DataFrame:
    """The median residual over seeds, infinite where half failed: a row for each problem, a column for each method.

    Ranks need every method on every problem. Of the methods of any problem, or common to any two, those are kept that
    fill the largest table with the problems on which they ran, two at least where there are two. ``runs``: see
    ``frames``.
    """
    table = runs.groupby(["instance", "method"])["residual"].median().unstack()
    ran = runs.groupby(["instance", "method"]).size().unstack().notna()
    of_one = {frozenset(ran.columns[row]) for row in ran.to_numpy()}
    candidates = {one & other for one in of_one for other in of_one} - {frozenset()}

    def size(names: frozenset[str]) -> tuple[bool, int, int]:
        problems = int(ran[list(names)].all(axis=1).sum())
        return problems > 1, problems * len(names), len(names)

    chosen = max(sorted(candidates, key=sorted), key=size)
    return table.loc[ran[list(chosen)].all(axis=1), sorted(chosen)]


def ranks(table: pd.DataFrame) -> Ranks:
    """Of ``scores``, smaller is better. Failures tie.

    Raises ``ValueError`` for fewer than three methods or two problems, or for NaN. Source: Friedman, J. Amer. Statist.
    Assoc. 32 (1937) 675; Nemenyi (1963); Demšar, J. Mach. Learn. Res. 7 (2006) 1, section 3.2.2.
    """
    problems, methods = table.shape
    if methods < 3 or problems < 2:
        raise ValueError(f"{methods} methods on {problems} problems; ranks need three methods on two problems at least")
    if table.isna().to_numpy().any():
        raise ValueError("a score is NaN; a failure is infinite")
    by_row = table.rank(axis=1, method="average")
    alike = (by_row.nunique(axis=1) == 1).all()
    p = 1.0 if alike else float(stats.friedmanchisquare(*by_row.to_numpy().T).pvalue)
    q = float(stats.studentized_range.isf(ALPHA, methods, math.inf)) / math.sqrt(2)
    critical = q * math.sqrt(methods * (methods + 1) / (6 * problems))
    return Ranks(by_row.mean().sort_values(kind="stable"), problems, p, critical)
