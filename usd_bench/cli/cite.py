"""``usd-bench cite``: BibTeX entries of what a study has used."""

from __future__ import annotations

import re
from pathlib import Path

import click

from usd_bench import __version__
from usd_bench.cli.common import load_registry, plugins_option, warn
from usd_bench.registry import Kind, Registry

ITSELF = f"""@software{{usd_bench,
  author = {{{{The usd-bench developers}}}},
  title = {{usd-bench: a reproducible benchmark of solvers for self-similar singularities}},
  version = {{{__version__}}},
}}"""


@click.command("cite")
@click.option("-p", "--problem", "problems", multiple=True, help="Name of a problem; repeatable.")
@click.option("-s", "--solver", "solvers", multiple=True, help="Name of a solver; repeatable.")
@click.option("--all", "everything", is_flag=True, help="All problems and solvers.")
@plugins_option
def command(
    problems: tuple[str, ...], solvers: tuple[str, ...], everything: bool, plugin_dirs: tuple[Path, ...]
) -> None:
    """Print BibTeX for usd-bench, and for problems and solvers with the sources of their methods.

    \b
    usd-bench cite
    usd-bench cite -p ipm -s gauss_newton -s ssbroyden >> references.bib
    """
    registry = load_registry(plugin_dirs)
    if everything:
        problems = tuple(entry.name for entry in registry.of("problems"))
        solvers = tuple(entry.name for entry in registry.of("solvers"))
    entries: dict[str, str] = {}
    for text in [ITSELF, *_found(registry, "problems", problems), *_found(registry, "solvers", solvers)]:
        for entry in re.split(r"\n(?=@)", text.strip()):
            entries[entry.partition("{")[2].partition(",")[0]] = entry
    click.echo("\n\n".join(entries.values()))


def _found(registry: Registry, kind: Kind, names: tuple[str, ...]) -> list[str]:
    texts = []
    for name in names:
        text = registry.get(kind, name).load().bibtex
        if not text:
            warn([f"{name} gives nothing to cite"])
        texts.append(text)
    return [text for text in texts if text]
