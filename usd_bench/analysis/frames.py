"""Runs as tables to analyse: what was solved, by which method, and the measures and costs that can be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from usd_bench.analysis.measures import COSTS, MEASURES

EVALUATIONS = ("n_residual", "n_jacobian", "n_jvp", "n_vjp")

OF_TRACE = (
    *("run_id", "iteration", "lam", "in_bracket", "res_max", "cond_max", "err_max", "time_solve_s"),
    *EVALUATIONS,
)
"""Columns of the trace that are analysed."""

SEPARATE = ("run_id", "instance", "method", "seed")


def instance_of(row: Mapping[str, Any]) -> str:
    """The problem with its parameters: ``burgers[order=1]``."""
    return selector(row["problem"], json.loads(row["parameters"]))


def methods_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each row the solver, with those of its settings that differ between these rows."""
    configs = [json.loads(row["config"]) for row in rows]
    by_solver: dict[str, list[dict[str, Any]]] = {}
    for row, config in zip(rows, configs, strict=True):
        by_solver.setdefault(row["solver"], []).append(config)
    differ = {
        solver: {k for config in known for k in config if any(other.get(k) != config[k] for other in known)}
        for solver, known in by_solver.items()
    }
    return [
        selector(row["solver"], {k: v for k, v in config.items() if k in differ[row["solver"]]})
        for row, config in zip(rows, configs, strict=True)
    ]


def selector(name: str, values: Mapping[str, Any]) -> str:
    """``name[key=value]``, or the name alone."""
    shown = ",".join(f"{key}={value}" for key, value in values.items())
    return f"{name}[{shown}]" if shown else name


def runs_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Runs with ``instance``, ``method``, and what each cost in all, in the columns of ``COSTS``."""
    frame = pd.DataFrame(list(rows))
    counts = [name for name in EVALUATIONS if name in frame]
    frame["work"] = frame[counts].astype(float).fillna(0.0).sum(axis=1)
    frame["iteration"] = frame["iterations"]
    known = frame[["res_max", "cond_max"]].astype(float).max(axis=1, skipna=False)
    frame["residual"] = known.fillna(np.inf).where(~_of_another(frame), np.inf)
    frame["instance"] = [instance_of(row) for row in rows]
    frame["method"] = methods_of(rows)
    return frame


def _of_another(frame: pd.DataFrame) -> pd.Series:
    """Whether the profile is of another branch; not known in stores of before schema 3."""
    return ~frame["in_bracket"].astype("boolean").fillna(True).astype(bool)


def trace_frame(runs: pd.DataFrame, trace: pd.DataFrame) -> pd.DataFrame:
    """Evaluations of these runs, in order, with every measure and cost, and what tells runs apart.

    A measure that is not known is infinite, and so are those of a profile of another branch: it is not what was asked
    for.

    ``trace``: with the columns ``OF_TRACE`` at least; nothing else is kept, for there may be a million rows.
    """
    frame = trace[list(OF_TRACE)].sort_values(["run_id", "iteration"], ignore_index=True)
    frame["work"] = frame[list(EVALUATIONS)].sum(axis=1)
    frame = frame.drop(columns=list(EVALUATIONS)).merge(runs[[*SEPARATE, "lam_ref"]], on="run_id")
    known = frame[["res_max", "cond_max"]].astype(float)
    frame["residual"] = known.max(axis=1, skipna=False).fillna(np.inf)
    frame["err_max"] = frame["err_max"].astype(float).fillna(np.inf)
    reference = frame["lam_ref"].astype(float)
    frame["lam_error"] = ((frame["lam"] - reference) / reference.where(reference != 0, 1.0)).abs().fillna(np.inf)
    frame.loc[_of_another(frame), list(MEASURES)] = np.inf
    return frame[[*SEPARATE, *COSTS, *MEASURES]]
