"""``usd-bench results``: stores elsewhere, and submissions."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from usd_bench.cli.common import bars, json_option, out_option, print_json, type_of_folder, warn
from usd_bench.errors import StoreError

no_artifacts = click.option("--no-artifacts", is_flag=True, help="Rows, traces and environments only.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress.")


@click.group("results")
def command() -> None:
    """Exchange results: push or pull a store, make a submission, or check one.

    \b
    usd-bench results push results s3://bucket/results
    usd-bench results pull https://host/results --out results
    usd-bench results submission results --into results/published/mine --how 'suite standard'
    usd-bench results check results/published/mine
    """


@command.command()
@click.argument("store", type=type_of_folder)
@click.argument("url")
@no_artifacts
@click.option("--overwrite", is_flag=True, help="Replace files that are there with another content.")
@quiet_option
def push(store: Path, url: str, no_artifacts: bool, overwrite: bool, quiet: bool) -> None:
    """Copy STORE to URL: a folder, or s3://, gs://, hf:// and whatever else fsspec knows.

    Files that are there are not sent again, so a push that was cut off goes on. The drivers of s3, gs and hf are
    packages of their own: s3fs, gcsfs, huggingface_hub. Needs `pip install 'usd-bench[exchange]'`.
    """
    _needs_fsspec()
    from usd_bench.store.exchange import push as send

    with bars(quiet) as show:
        done = send(store, url, not no_artifacts, overwrite, partial(show, "files sent"))
    warn(f"{name} was lost at {url}; its manifest no longer names it" for name in done.lost)
    click.echo(f"{len(done.sent)} files sent to {url}, {len(done.there)} were there")


@command.command()
@click.argument("url")
@no_artifacts
@quiet_option
@out_option
def pull(url: str, no_artifacts: bool, quiet: bool, out: Path) -> None:
    """Merge the store at URL into OUT. Every file is held against its SHA-256 before anything is added."""
    _needs_fsspec()
    from usd_bench.store.exchange import pull as fetch

    with bars(quiet) as show:
        done = fetch(url, out, not no_artifacts, partial(show, "files fetched"))
    warn(done.skipped)
    replaced = f", {len(done.replaced)} that were killed replaced" if done.replaced else ""
    click.echo(f"{len(done.added)} runs added to {out}{replaced}, {len(done.kept)} were there")


@command.command()
@click.argument("store", type=type_of_folder)
@click.option("--into", type=type_of_folder, required=True, help="A new folder: results/published/NAME.")
@click.option("--how", required=True, help="The suite or the commands that made the runs.")
@click.option("--beside", default="nothing", show_default=True, help="What else ran on the machine.")
@click.option("--contact", default="", help="Whom to ask.")
@json_option
def submission(store: Path, into: Path, how: str, beside: str, contact: str, as_json: bool) -> None:
    """Make STORE ready for a pull request into results/published: validated, packed, and signed.

    The signature is a digest over all files, what is said of them, and the records of the machines. It shows that
    something was changed afterwards, not who made it.
    """
    from usd_bench.store.submission import NAME, submit

    said = submit(store, into, how=how, beside=beside, contact=contact)
    if as_json:
        print_json(said)
        return
    _print(said)
    click.echo(f"\nread {into / NAME}, then open a pull request that adds {into}")


@command.command()
@click.argument("folder", type=type_of_folder)
@json_option
def check(folder: Path, as_json: bool) -> int:
    """Check that a submission is what was signed and keeps the rules of a store. Exit code 1 when it does not."""
    from usd_bench.store.submission import NAME, check

    try:
        said = check(folder)
    except StoreError as error:
        if not (folder / NAME).is_file():
            raise
        click.echo(f"fault    {error}")
        return 1
    if as_json:
        print_json(said)
    else:
        _print(said)
    return 0


def _print(said: dict[str, object]) -> None:
    statuses, machines = said["statuses"], said["machines"]
    assert isinstance(statuses, dict)
    assert isinstance(machines, dict)
    click.echo(f"{said['runs']} runs: " + ", ".join(f"{number} {status}" for status, number in statuses.items()))
    for machine in machines.values():
        click.echo(f"machine  {machine.get('cpu')}, {machine.get('cores')} cores; beside them: {said['beside']}")
    click.echo(f"made by  {said['how']}")
    click.echo(f"signed   {said['signature']}")


def _needs_fsspec() -> None:
    try:
        import fsspec  # noqa: F401 (whether it is there)
    except ImportError:
        raise StoreError("URLs need fsspec: pip install 'usd-bench[exchange]'") from None
