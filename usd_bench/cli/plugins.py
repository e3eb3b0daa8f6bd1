"""``usd-bench plugins``: what is installed, and why a plugin does not work. Never stopped by a broken one."""

from __future__ import annotations

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
@plugins_option
def doctor(plugin_dirs: tuple[Path, ...]) -> int:
    """Check every plugin: that it loads, and that each thing it registered can be imported.

    Exit code 1 when something is wrong.
    """
    registry = Registry.load(plugin_dirs)
    faults = list(registry.conflicts)
    for plugin in registry.plugins:
        if plugin.state == "failed" and plugin.reason not in faults:
            faults.append(f"plugin {plugin} does not load: {plugin.reason}")
        elif plugin.state == "disabled":
            click.echo(f"off      {plugin}: {plugin.reason}")
    for kind, entries in registry.entries.items():
        for entry in entries.values():
            try:
                entry.load()
            except Exception as error:
                faults.append(f"{kind.removesuffix('s')} {error}")
            else:
                click.echo(f"ok       {kind.removesuffix('s')} {entry.name} of {entry.plugin}")
    for fault in faults:
        click.echo(f"fault    {fault}")
    return int(bool(faults))
