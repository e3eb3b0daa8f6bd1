"""``usd-bench new``: a plugin from a template."""

from __future__ import annotations

from pathlib import Path

import click

from usd_bench.cli.common import type_of_folder


@click.group("new")
def command() -> None:
    """Make a problem or a solver as a package of its own, which passes its own tests.

    \b
    usd-bench new solver my_method
    usd-bench new problem my_equation --into ../my_equation
    """


def _make(kind: str, name: str, into: Path | None) -> None:
    from usd_bench.scaffold import create

    folder = into or Path(f"usd-{name.replace('_', '-')}")
    for path in create(kind, name, folder):  # type: ignore[arg-type]
        click.echo(path)
    click.echo(f"\ncd {folder} && python -m pip install -e '.[test]' && python -m pytest")


into_option = click.option("--into", type=type_of_folder, help="A new folder.  [default: usd-NAME]")


@command.command()
@click.argument("name")
@into_option
def solver(name: str, into: Path | None) -> None:
    """A solver NAME: Gauss-Newton on polynomials, to be replaced by yours.

    \b
    usd-bench new solver my_method
    """
    _make("solver", name, into)


@command.command()
@click.argument("name")
@into_option
def problem(name: str, into: Path | None) -> None:
    """A problem NAME: Keller-Segel in three dimensions, to be replaced by yours.

    \b
    usd-bench new problem my_equation
    """
    _make("problem", name, into)
