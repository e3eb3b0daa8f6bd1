"""What the report page shows, as plain data: runs, curves, costs of targets, environments."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from usd_bench.analysis.frames import runs_frame, trace_frame
from usd_bench.analysis.measures import COSTS, MEASURES
from usd_bench.analysis.targets import costs_to_target
from usd_bench.analysis.work_precision import curve

Row = Mapping[str, Any]

TARGETS = [10.0**-k for k in range(16)]
"""Residuals for which the page knows what runs cost."""

CURVE_POINTS = 40
"""Costs at which a curve is drawn."""

DIGITS = 4
"""Significant digits in curves: what a picture shows."""


COPIED = (
    *("seed", "status", "reason", "lam", "lam_ref", "lam_digits", "res_max", "cond_max", "err_max", "iterations"),
    *("time_solve_s", "contended", "device", "threads", "commit", "env_id"),
)
"""Columns that the page has as they are."""


def report_data(runs: Sequence[Row], trace: pd.DataFrame, env: Sequence[Row]) -> dict[str, Any]:
    """Everything the page needs, ready for JSON: no NaN, and null for a failure's infinity."""
    frame = runs_frame(runs)
    evaluations = trace_frame(frame, trace) if len(trace) else trace
    settings: dict[str, int] = {}  # many runs share them
    instances, methods = sorted(frame["instance"].unique()), sorted(frame["method"].unique())
    return {
        "costs": COSTS,
        "measures": MEASURES,
        "targets": TARGETS,
        "instances": instances,
        "methods": methods,
        "runs": _runs(frame, evaluations, instances, methods, settings),
        "settings": list(settings),
        "curves": _curves(evaluations, instances, methods),
        "environments": {row["env_id"]: json.loads(row["record"]) for row in env},
    }


def _runs(
    frame: pd.DataFrame,
    evaluations: pd.DataFrame,
    instances: list[str],
    methods: list[str],
    settings: dict[str, int],
) -> list[dict[str, Any]]:
    hits = _hits(evaluations)
    found = []
    for row in frame.to_dict("records"):
        found.append(
            {
                "id": row["run_id"],
                "problem": instances.index(row["instance"]),
                "method": methods.index(row["method"]),
                "solver": row["solver"],
                "settings": settings.setdefault(row["config"], len(settings)),
                "work": _plain(row["work"]),
                "residual": _plain(row["residual"]),
                "hits": hits.get(row["run_id"], []),
            }
            | {name: _plain(row[name]) for name in COPIED}
        )
    return found


def _hits(evaluations: pd.DataFrame) -> dict[str, list[list[float | None]]]:
    """For each run, and each target that it reached in turn, its costs there in the order of ``COSTS``."""
    found: dict[str, list[list[float | None]]] = {}
    if not len(evaluations):
        return found
    for target in TARGETS:
        costs = costs_to_target(evaluations, target, list(COSTS))
        costs = costs.loc[np.isfinite(costs.to_numpy()).all(axis=1)]
        for run_id, values in zip(costs.index, costs.to_numpy().tolist(), strict=True):
            found.setdefault(run_id, []).append([_rounded(cost) for cost in values])
    return found


def _curves(evaluations: pd.DataFrame, instances: list[str], methods: list[str]) -> dict[str, Any]:
    """``curves[measure][cost][problem][method]`` as columns cost, value, low, high."""
    found: dict[str, Any] = {measure: {cost: {} for cost in COSTS} for measure in MEASURES}
    if not len(evaluations):
        return {}
    for (instance, method), part in evaluations.groupby(["instance", "method"]):
        problem, solver = instances.index(str(instance)), methods.index(str(method))
        for measure, cost in product(MEASURES, COSTS):
            drawn = curve(part, measure, cost, CURVE_POINTS)
            drawn = drawn[drawn["low"] < math.inf]
            if len(drawn):
                columns = [[_rounded(value) for value in drawn[name]] for name in drawn.columns]
                found[measure][cost].setdefault(problem, {})[solver] = columns
    return found


def shown_field(values: Any) -> Any:
    """Nested lists of numbers, rounded to what a picture shows."""
    return [shown_field(v) for v in values] if isinstance(values, list) else _rounded(values)


def _rounded(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)) or value is pd.NA:
        return None
    return value.item() if hasattr(value, "item") else value
