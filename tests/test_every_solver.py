"""Every registered solver once, from the command line to the store, on burgers; what cannot run, with its reason."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from usd_bench.registry import Registry

SOLVERS = {entry.name: entry.load() for entry in Registry.load().of("solvers")}
SMALL = {"hidden": "8x8", "points": "240", "degree": "6", "wide": "40", "evaluations": "20"}


def small(name: str) -> str:
    fields = SOLVERS[name].Config.model_fields
    settings = [f"{key}={value}" for key, value in SMALL.items() if key in fields and not _unused(fields[key])]
    if "stages" in fields:  # where later stages are not asked for, their width says nothing
        settings = [setting for setting in settings if name == "random_features" or not setting.startswith("wide")]
    if name in ("spectral_newton", "continuation", "dynamic_rescaling"):
        settings = []
    return f"{name}[{','.join(settings)}]" if settings else name


def _unused(field) -> bool:
    return "not used" in (field.description or "")


def test_each_solver_lowers_the_residual_of_burgers_or_says_why_it_cannot_run(rows, tmp_path: Path) -> None:
    every = ",".join(small(name) for name in SOLVERS)
    limits = ("--max-iter", "40", "--max-time", "30", "--until", "res_max=1e-9", "--jobs", "2")
    found = {row["solver"]: row for row in rows("-p", "burgers", "-s", every, *limits)}
    assert set(found) == set(SOLVERS)
    refused = {name: row["reason"] for name, row in found.items() if row["status"] == "unsupported"}
    assert set(refused) == {"dynamic_rescaling", "continuation"}
    assert "how its fields evolve" in refused["dynamic_rescaling"]
    assert "cannot be varied" in refused["continuation"]
    trace = pd.read_parquet(tmp_path / "results" / "trace")
    for name in set(found) - set(refused):
        row = found[name]
        assert row["status"] in ("converged", "budget"), (name, row["reason"])
        start = trace[(trace["run_id"] == row["run_id"]) & (trace["iteration"] == 0)]["res_max"].item()
        assert row["res_max"] < 0.9 * start, name
        assert row["n_residual"] + row["n_jacobian"] + row["n_vjp"] > 0, name
        assert json.loads(row["config"]) is not None


@pytest.mark.parametrize("name", SOLVERS)
def test_each_solver_names_its_source_and_can_be_cited(name: str) -> None:
    solver = SOLVERS[name]
    assert "Source: " in solver.__doc__ or "arXiv:" in solver.__doc__, name
    assert solver.bibtex.startswith("@"), name
