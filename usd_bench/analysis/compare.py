"""Two sets of runs side by side, pairing by pairing: what became faster, more accurate, or was lost.

Words are used only where the interval of a median ratio lies on one side of 1: with few seeds most differences have
none.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from usd_bench.analysis.frames import instance_of, selector
from usd_bench.analysis.statistics import Estimate, paired

Row = Mapping[str, Any]

SMALLEST = 1e-300
"""Stands for a residual of exactly zero, which has no ratio."""


class NotComparable(ValueError):
    """Why two sets of runs cannot be compared."""


@dataclass(frozen=True)
class Comparison:
    """One problem and one method (or two, if methods are compared), second over first."""

    instance: str
    method: str
    pairs: int
    solved: tuple[int, int]
    """Runs that converged, first and second."""
    time: Estimate
    """Median ratio of solver seconds of pairs that both converged; NaN without any."""
    residual: Estimate
    """Median ratio of the largest residuals."""
    digits: float
    """Median change of the correct digits of λ; NaN where none is known."""
    verdict: tuple[str, ...]

    @property
    def regressed(self) -> bool:
        """Whether something is shown to be worse."""
        return bool({"slower", "less accurate", "fails more often"} & set(self.verdict))


def compare(first: Sequence[Row], second: Sequence[Row], across_methods: bool = False) -> list[Comparison]:
    """Every pairing that both have, by problem and method. ``across_methods``: pairs of one problem and seed, each side
    with one method.

    Raises ``NotComparable`` where targets or number formats differ, or nothing is in both.
    """
    sides = [_by_pairing(rows, across_methods) for rows in (first, second)]
    common = [key for key in sides[0] if key in sides[1]]
    if not common:
        raise NotComparable("no pairing of problem, settings and seed is in both")
    found = []
    for key in common:
        seeds = sorted(sides[0][key].keys() & sides[1][key].keys())
        if seeds:
            found.append(_compared(key, [(sides[0][key][seed], sides[1][key][seed]) for seed in seeds], across_methods))
    if not found:
        raise NotComparable("the same pairings are in both, but no seed is")
    return sorted(found, key=lambda c: (c.instance, c.method))


Key = tuple[str, ...]


def _by_pairing(rows: Sequence[Row], across_methods: bool) -> dict[Key, dict[int, Row]]:
    found: dict[Key, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        if row["status"] == "unsupported":
            continue
        key: Key = (row["problem"], row["parameters"])
        if not across_methods:
            key += (row["solver"], row["config"])
        if row["seed"] in found[key]:
            other = found[key][row["seed"]]
            what = "methods or budgets" if across_methods else "budgets"
            raise NotComparable(
                f"one side has two runs of {instance_of(row)} with seed {row['seed']} ({other['run_id'][:8]}, "
                f"{row['run_id'][:8]}), of different {what}; select one"
            )
        found[key][row["seed"]] = row
    return {key: by_seed for key, by_seed in found.items() if by_seed}


def _compared(key: Key, pairs: list[tuple[Row, Row]], across_methods: bool) -> Comparison:
    name = instance_of(pairs[0][0])
    for a, b in pairs:
        for what, values in {
            "targets": [json.loads(row["budget"])["until"] for row in (a, b)],
            "number formats": [row["dtype"] for row in (a, b) if row["dtype"] is not None],
        }.items():
            if len(values) == 2 and values[0] != values[1]:
                raise NotComparable(f"{name}: {what} differ: {values[0]} and {values[1]}")
    solved = tuple(sum(row["status"] == "converged" for row in side) for side in zip(*pairs, strict=True))
    both = [(a, b) for a, b in pairs if a["status"] == b["status"] == "converged"]
    nothing = Estimate(math.nan, math.nan, math.nan)
    time = nothing
    timed = [(a, b) for a, b in both if not (a.get("contended") or b.get("contended"))]  # others say what the load was
    if timed:
        time = paired([a["time_solve_s"] for a, _ in timed], [b["time_solve_s"] for _, b in timed]).ratio
    residual = paired([_residual(a) for a, _ in pairs], [_residual(b) for _, b in pairs]).ratio
    changes = sorted(
        b["lam_digits"] - a["lam_digits"] for a, b in pairs if None not in (a["lam_digits"], b["lam_digits"])
    )
    digits = (changes[(len(changes) - 1) // 2] + changes[len(changes) // 2]) / 2 if changes else math.nan
    return Comparison(
        instance=name,
        method=_method(pairs[0], across_methods),
        pairs=len(pairs),
        solved=(solved[0], solved[1]),
        time=time,
        residual=residual,
        digits=digits,
        verdict=_verdict(len(pairs), (solved[0], solved[1]), time, residual, len(both) == len(pairs)),
    )


def _method(pair: tuple[Row, Row], across_methods: bool) -> str:
    names = [row["solver"] for row in pair]
    if not across_methods:
        return str(names[0])
    if names[0] != names[1]:
        return f"{names[0]} → {names[1]}"
    a, b = (json.loads(row["config"]) for row in pair)
    differ = [key for key in a | b if a.get(key) != b.get(key)]
    shown = [selector(names[0], {key: config.get(key) for key in differ}) for config in (a, b)]
    return f"{shown[0]} → {shown[1]}"


def _residual(row: Row) -> float:
    values = [row[name] for name in ("res_max", "cond_max")]
    if row.get("in_bracket") is False or any(value is None or math.isnan(value) for value in values):
        return math.inf
    return float(max(*values, SMALLEST))


def _verdict(
    pairs: int, solved: tuple[int, int], time: Estimate, residual: Estimate, all_converged: bool
) -> tuple[str, ...]:
    words = []
    if pairs >= 2:  # of one pair there is no interval
        if time.high < 1:
            words.append("faster")
        elif time.low > 1:
            words.append("slower")
        if not all_converged:  # those that stop at a target are as accurate as it
            if residual.high < 1:
                words.append("more accurate")
            elif residual.low > 1:
                words.append("less accurate")
    if solved[1] < solved[0]:
        words.append("fails more often")
    elif solved[1] > solved[0]:
        words.append("succeeds more often")
    return tuple(words)
