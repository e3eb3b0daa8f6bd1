"""``usd-bench new``: a plugin from a template."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from usd_bench.cli.common import type_of_folder, warn

if TYPE_CHECKING:
    from usd_bench.scaffold import Kind


@click.command("new")
@click.argument("kind", type=click.Choice(["problem", "solver"]))
@click.argument("name")
@click.option("--into", type=type_of_folder, help="A new folder.  [default: usd-NAME]")
def command(kind: Kind, name: str, into: Path | None) -> None:
    """Make a problem or a solver NAME as a package of its own, which passes its own tests.

    \b
    usd-bench new solver my_method
    usd-bench new problem my_equation --into ../my_equation

    The solver is Gauss-Newton on polynomials, the problem Keller-Segel in three dimensions: to be replaced by yours.
    """
    from usd_bench.registry import Registry
    from usd_bench.scaffold import create

    taken = Registry.load().entries[f"{kind}s"].get(name)
    if taken is not None:
        warn([f"{kind} {name!r} of {taken.plugin} has that name: both cannot be installed; choose another"])

    folder = into or Path(f"usd-{name.replace('_', '-')}")
    for path in create(kind, name, folder):
        click.echo(path)
    click.echo(f"\ncd {folder} && python -m pip install -e '.[test]' && python -m pytest")
