"""The entry point ``usd-bench``: a group whose commands come from the registry, each imported when called.

Exit codes: 0 done; 1 a run failed, or a check found a fault; 2 bad input; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from usd_bench import __version__
from usd_bench.errors import UsdBenchError
from usd_bench.registry import Registry


class RegistryGroup(click.Group):
    """Commands by name from the registry; ``--help`` reads their summaries and imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in _registry().of("commands")]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        entry = _registry().entries["commands"].get(name)
        return None if entry is None else entry.load()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(entry.name, entry.summary) for entry in _registry().of("commands")])


def _registry() -> Registry:
    """Installed plugins: they may bring commands. Loaded once per process."""
    global _loaded
    if _loaded is None:
        _loaded = Registry.load()
    return _loaded


_loaded: Registry | None = None


@click.group(cls=RegistryGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="usd-bench")
def cli() -> None:
    """Reproducible benchmark of solvers for self-similar singularities of fluid equations.

    \b
    usd-bench run --problem toy_ipm --solver gauss_newton
    usd-bench run --problem 'burgers[order=[0,1]]' --solver gauss_newton,adam --seeds 3
    usd-bench list runs
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line."""
    called(cli, "usd-bench", arguments)


def called(command: click.Command, name: str, arguments: list[str] | None = None) -> Any:
    """Run a command as a program of that name. Bad input is one line on standard error and exit code 2."""
    try:
        code = command.main(arguments, prog_name=name, standalone_mode=False)
    except UsdBenchError as error:
        click.echo(f"Error: {error}", err=True)
        code = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = error.exit_code
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        code = 130
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            click.echo(f"Error: {error}", err=True)
            sys.exit(2)
        # The reader of a pipe has had enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
