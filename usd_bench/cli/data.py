"""``usd-bench data``: sample data of a problem."""

from __future__ import annotations

from pathlib import Path

import click

from usd_bench.cli.common import load_registry, plugins_option, type_of_folder
from usd_bench.errors import SelectorError, StoreError


@click.group("data")
def command() -> None:
    """Generate sample data of a problem.

    \b
    usd-bench data generate toy_ipm --n 32
    """


@command.command()
@click.argument("problem")
@click.option("--n", type=click.IntRange(min=2, max=4096), help="Grid points per coordinate.  [default: the problem's]")
@click.option("--out", type=type_of_folder, default=Path("data"), show_default=True, help="Folder to write to.")
@plugins_option
def generate(problem: str, n: int | None, out: Path, plugin_dirs: tuple[Path, ...]) -> None:
    """Write grid, starting fields, wall and normalisation data of PROBLEM as OUT/NAME_N.npz.

    \b
    usd-bench data generate toy_ipm --n 32            # data/toy_ipm_32.npz
    usd-bench data generate 'burgers[order=1]' --n 64
    """
    registry = load_registry(plugin_dirs)

    from usd_bench.data import sample, write
    from usd_bench.run.plan import build_problem
    from usd_bench.selectors import parse

    selections = parse(problem)
    if len(selections) != 1:
        raise SelectorError(f"data generate takes one problem; {problem!r} selects {len(selections)}")
    selection = selections[0]
    built = build_problem(registry, selection)
    size = n or built.recommended.grid
    given = "".join(f"_{key}{value}" for key, value in selection.parameters.items())
    path = out / f"{selection.name}{given}_{size}.npz"
    try:
        write(path, sample(built, selection.name, size))
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    click.echo(str(path))
