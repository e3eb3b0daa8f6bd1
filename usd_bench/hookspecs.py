"""The plugin contract: what a package may offer to usd-bench, through the entry-point group ``usd_bench``.

    # pyproject.toml of a plugin
    [project.entry-points.usd_bench]
    my_plugin = "my_package.plugin"

    # my_package/plugin.py
    from usd_bench.hookspecs import hookimpl

    @hookimpl
    def register_solvers(register):
        register("my_solver", "my_package.solver:MySolver", summary="what it does, in a line")

Registering must stay fast: give targets as ``"module:Class"``, so that torch is imported only when used.
The built-in problems and solvers register in exactly this way.
"""

from __future__ import annotations

from typing import Any, Protocol

import pluggy

GROUP = "usd_bench"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Register(Protocol):
    """``register(name, target)``: offer ``target`` (``"module:attribute"`` or the object) under ``name``."""

    def __call__(self, name: str, target: str | Any, *, summary: str = "", aliases: tuple[str, ...] = ()) -> None: ...


@hookspec
def register_problems(register: Register) -> None:
    """Offer problems: subclasses of ``usd_bench.problem.Problem``.

    register("burgers", "usd_problems.burgers:Burgers", summary="inviscid Burgers before a shock")
    """


@hookspec
def register_solvers(register: Register) -> None:
    """Offer solvers: subclasses of ``usd_bench.solver.Solver``.

    register("adam", "usd_solvers.adam:Adam", summary="first-order baseline")
    """


@hookspec
def register_metrics(register: Register) -> None:
    """Offer metrics: ``usd_bench.metrics.Metric`` objects, computed by the harness at every evaluation.

    register("slope", "my_package.metrics:SLOPE", summary="steepest gradient of the profile")
    """


@hookspec
def register_trackers(register: Register) -> None:
    """Offer trackers: subclasses of ``usd_bench.tracking.Tracker``, which ``--track`` has follow a run.

    register("csv", "usd_bench.tracking.csv:CsvTracker", summary="metrics.csv beside the checkpoints")
    """


@hookspec
def register_commands(register: Register) -> None:
    """Offer commands: click commands that appear as ``usd-bench NAME``.

    register("hello", "my_package.cli:hello", summary="say hello")
    """
