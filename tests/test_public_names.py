"""The names that plugins may rely on: whoever changes this file changes what the deprecation policy promises."""

from __future__ import annotations

import importlib
import inspect

import pytest

NAMES = {
    "usd_bench.hookspecs": "GROUP Register hookimpl hookspec register_commands register_metrics register_problems "
    "register_solvers register_trackers",
    "usd_bench.problem": "Bracket Condition Field Problem ProblemParameters Recommended Target axis",
    "usd_bench.profile": "FunctionProfile Profile on_grid",
    "usd_bench.solver": "Counters Solver SolverConfig State",
    "usd_bench.jets": "Channels Jet differentiate equation_namespace slope take",
    "usd_bench.metrics": "COND_MAX Density ERR_L2_REL ERR_MAX LAM_DIGITS Measurement Metric RAW_L2 RAW_MAX RAW_MEAN "
    "RES_L2 RES_MAX RES_MEAN compute lam_digits measure",
    "usd_bench.tracking": "Followed Tracker imported scalars",
    "usd_bench.errors": "CertificateError CertificateRefused CheckpointError ClusterError ConfigError MeasurementError "
    "PluginError SelectorError SpectrumError StoreError UsdBenchError did_you_mean one_line",
    "usd_bench.testing": "ProblemConformance SolverConformance problem_conformance solver_conformance",
}


@pytest.mark.parametrize("module", NAMES)
def test_public_names_are_those_that_are_promised(module: str) -> None:
    names = vars(importlib.import_module(module))
    own = {
        name
        for name, value in names.items()
        if not name.startswith("_")
        and (getattr(value, "__module__", "").startswith(module) or name in NAMES[module].split())
        and not inspect.ismodule(value)
    }
    assert own == set(NAMES[module].split())


@pytest.mark.parametrize("module", NAMES)
def test_public_names_are_documented(module: str) -> None:
    for name in NAMES[module].split():
        value = getattr(importlib.import_module(module), name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{module}.{name}"
