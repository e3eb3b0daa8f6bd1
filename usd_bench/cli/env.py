"""``usd-bench env``: the environment that would be recorded with a run."""

from __future__ import annotations

from operator import itemgetter

import click

from usd_bench.cli.common import json_option, print_json, print_rows


@click.command("env")
@json_option
def command(as_json: bool) -> None:
    """Print the environment that would be recorded with a run: machine, software, commit.

    \b
    usd-bench env --json
    """
    from usd_bench.reproducibility import commit, digest, environment

    record = environment()
    shown = {"env_id": digest(record), "commit": commit(), **record}
    if as_json:
        print_json(shown)
    else:
        rows = [{"what": key, "value": value} for key, value in shown.items()]
        print_rows(rows, {"what": itemgetter("what"), "value": itemgetter("value")})
