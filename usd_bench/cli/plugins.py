"""``usd-bench plugins``: what is installed, and why a plugin does not work. Never stopped by a broken one."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import click

from usd_bench.cli.common import json_option, plugins_option, print_json, print_rows
from usd_bench.registry import Registry


@click.group("plugins")
def command() -> None:
    """List plugins, or find out why one does not work.

    \b
    usd-bench plugins list
    usd-bench plugins doctor --plugins-dir my_plugins
    """


@command.command("list")
@json_option
@plugins_option
def list_plugins(as_json: bool, plugin_dirs: tuple[Path, ...]) -> None:
    """Every plugin found, its state, and what it provides."""
    registry = Registry.load(plugin_dirs)
    rows = [
        {
            "plugin": plugin.name,
            "origin": f"{plugin.origin} {plugin.version}".strip(),
            "state": plugin.state,
            "provides": "; ".join(f"{kind}: {', '.join(n)}" for kind, n in registry.provided_by(plugin).items()),
        }
        for plugin in registry.plugins
    ]
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, {key: itemgetter(key) for key in ("plugin", "origin", "state", "provides")})


@command.command()
@json_option
@plugins_option
def doctor(as_json: bool, plugin_dirs: tuple[Path, ...]) -> int:
    """Check every plugin: that it loads, and that each thing it registered can be imported and is what it says.

    What is wrong is told with what to do. Exit code 1 when something is.
    """
    registry = Registry.load(plugin_dirs)
    found = [*_states(registry), *_versions(registry), *_things(registry)]
    if as_json:
        print_json([{"verdict": verdict, "about": about} for verdict, about in found])
    else:
        for verdict, about in found:
            click.echo(f"{verdict:<8} {about}")
    return int(any(verdict == "fault" for verdict, _ in found))


Verdicts = Iterator[tuple[str, str]]
"""``ok``, ``off`` or ``fault``, and about what."""


def _states(registry: Registry) -> Verdicts:
    for conflict in registry.conflicts:
        yield "fault", conflict
    for plugin in registry.plugins:
        if plugin.state == "failed" and plugin.reason not in registry.conflicts:
            missing = "No module named" in plugin.reason
            hint = "; install what it needs into this environment, or fix its import" if missing else ""
            yield "fault", f"plugin {plugin} does not load: {plugin.reason}{hint}"
        elif plugin.state == "disabled":
            yield "off", f"{plugin}: {plugin.reason}"


def _versions(registry: Registry) -> Verdicts:
    """Plugins that ask for another usd-bench than this one."""
    from importlib.metadata import PackageNotFoundError, requires

    from packaging.requirements import Requirement

    from usd_bench import __version__

    for plugin in registry.plugins:
        try:
            wanted = [Requirement(text) for text in requires(plugin.origin) or ()]
        except (PackageNotFoundError, ValueError):  # a file; or what pip would refuse too
            continue
        for requirement in wanted:
            if requirement.name == "usd-bench" and not requirement.specifier.contains(__version__, prereleases=True):
                yield "fault", f"plugin {plugin} asks for {requirement}; this is {__version__}: update one of them"


def _things(registry: Registry) -> Verdicts:
    """Whether what was registered is there, and of its kind."""
    from usd_bench.metrics import Metric
    from usd_bench.problem import Problem
    from usd_bench.solver import Solver
    from usd_bench.tracking import Tracker

    classes = {"problems": Problem, "solvers": Solver, "trackers": Tracker}
    objects = {"metrics": Metric, "commands": click.Command}
    for kind, entries in registry.entries.items():
        for entry in entries.values():
            what = f"{kind.removesuffix('s')} {entry.name}"
            try:
                thing = entry.load()
            except Exception as error:
                yield "fault", f"{kind.removesuffix('s')} {error}"
                continue
            base = classes.get(kind)
            if base is not None and not (isinstance(thing, type) and issubclass(thing, base)):
                yield "fault", f"{what} of {entry.plugin} is {thing!r}; expected a subclass of {base.__name__}"
            elif kind in objects and not isinstance(thing, objects[kind]):
                yield "fault", f"{what} of {entry.plugin} is {thing!r}; expected a {objects[kind].__name__}"
            else:
                yield "ok", f"{what} of {entry.plugin}"
