"""``usd-bench merge``: stores of many machines as one."""

from __future__ import annotations

from pathlib import Path

import click

from usd_bench.cli.common import out_option, type_of_folder, warn


@click.command("merge")
@click.argument("stores", nargs=-1, required=True, type=type_of_folder)
@click.option("--no-artifacts", is_flag=True, help="Rows, traces and environments only.")
@click.option("--pack", is_flag=True, help="Then hold OUT's rows in one file, and its traces in another.")
@out_option
def command(stores: tuple[Path, ...], no_artifacts: bool, pack: bool, out: Path) -> None:
    """Copy the runs of STORES into one store. A run that is there already is not copied again.

    The same run of two machines counts once, the first; one that was killed gives way to one that finished.

    \b
    usd-bench merge node1/results node2/results --out results
    usd-bench merge results --out results/published/mine --no-artifacts --pack
    """
    from usd_bench.store.merge import merge
    from usd_bench.store.merge import pack as packed

    done = merge(stores, out, artifacts=not no_artifacts)
    warn(done.skipped)
    replaced = f", {len(done.replaced)} that were killed replaced" if done.replaced else ""
    click.echo(f"{len(done.added)} runs added to {out}{replaced}, {len(done.kept)} were there")
    if pack:
        click.echo(f"{packed(out)} runs packed")
