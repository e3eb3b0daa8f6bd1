"""``usd-bench report``: a store as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from usd_bench.cli.common import out_option, warn
from usd_bench.errors import StoreError


@click.command("report")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="The page.  [default: OUT/report.html]")
@click.option("--title", help="Its title.  [default: the store's name]")
@out_option
def command(html: Path | None, title: str | None, out: Path) -> None:
    """Write a store as one HTML page that opens without a network: tables to filter and sort, who is best at a
    residual and by how much, work-precision curves, profiles, exponents, failures with their reasons, machines.

    \b
    usd-bench report                                        # results/report.html
    usd-bench report --out results/published/standard --html standard.html
    """
    from usd_bench.files import write_atomically
    from usd_bench.report.data import report_data
    from usd_bench.report.html import html_page
    from usd_bench.store.reader import read

    kinds = {kind: read(out, kind) for kind in ("runs", "trace", "env")}
    warn(message for _, messages in kinds.values() for message in messages)
    runs, trace, env = (rows for rows, _ in kinds.values())
    if not runs:
        raise StoreError(f"no runs in {out}: nothing to report")
    path = html or out / "report.html"
    page = html_page(report_data(runs, trace, env), title or f"usd-bench: {out}")
    write_atomically(path, page.encode())
    click.echo(f"{len(runs)} runs  {path}  ({len(page.encode()) / 2**20:.1f} MiB)")
