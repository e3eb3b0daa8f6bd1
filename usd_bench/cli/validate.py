"""``usd-bench validate``: whether stores keep their own rules."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from usd_bench.cli.common import json_option, print_json, type_of_folder
from usd_bench.errors import StoreError

SHOWN = 20
"""Faults that are printed; --json has them all."""


@click.command("validate")
@click.argument("folders", nargs=-1, type=type_of_folder)
@json_option
def command(folders: tuple[Path, ...], as_json: bool) -> int:
    """Check every store in the FOLDERS: schema, identities, impossible values, traces, environments.

    A fault is what no run can have written: a changed row, a missing file, a converged run above its target. Notes say
    what to know before comparing, such as seeds that differ between solvers.

    \b
    usd-bench validate                       # results
    usd-bench validate results/published

    Exit codes: 0 no fault; 1 a fault; 2 no store there.
    """
    from usd_bench.store.validate import stores_in, validated

    folders = folders or (Path("results"),)
    stores = [store for folder in folders for store in stores_in(folder)]
    if not stores:
        raise StoreError(f"no store in {', '.join(map(str, folders))}: expected a folder that holds runs/")
    reports = [validated(store) for store in stores]
    if as_json:
        print_json([asdict(report) for report in reports])
    else:
        for report in reports:
            counts = ", ".join(f"{number} {status}" for status, number in sorted(report.statuses.items()))
            click.echo(f"{report.path}: {report.runs} runs ({counts}); {len(report.faults)} faults")
            for fault in report.faults[:SHOWN]:
                click.echo(f"  fault  {fault}")
            if len(report.faults) > SHOWN:
                click.echo(f"  …      {len(report.faults) - SHOWN} more; --json shows all")
            for note in report.notes:
                click.echo(f"  note   {note}")
    return int(any(report.faults for report in reports))
