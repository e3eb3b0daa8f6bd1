"""Pages of the site that are made from the code and from ``results/published`` while it is built: mkdocs hooks."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pandas as pd

from usd_bench.analysis.frames import runs_frame, trace_frame
from usd_bench.analysis.ranks import ranks, scores
from usd_bench.analysis.summary import summary
from usd_bench.cli.main import cli
from usd_bench.registry import Registry
from usd_bench.report.comparisons import curves_figure, ranks_figure
from usd_bench.report.data import report_data
from usd_bench.report.drawing import drawn
from usd_bench.report.html import html_page
from usd_bench.report.table import markdown
from usd_bench.store.reader import read, read_frame
from usd_bench.store.validate import stores_in

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "results" / "published"

TARGETS = (1e-3, 1e-6)
"""Residuals for which the results page has a table."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and reports."""
    from mkdocs.structure.files import File

    for name, content in pages():
        files.append(File.generated(config, name, content=content))
    return files


def pages() -> Iterator[tuple[str, str | bytes]]:
    """Path and content of every generated file."""
    registry = Registry.load()
    yield "reference/problems.md", _classes(registry, "problems", "Parameters")
    yield "reference/solvers.md", _classes(registry, "solvers", "Config")
    yield "reference/commands.md", _commands()
    yield "reference/decisions.md", _decisions()
    stores = [(store.relative_to(PUBLISHED).as_posix(), store) for store in stores_in(PUBLISHED)]
    yield "results.md", _results(stores)
    for name, store in stores:
        data = report_data(read(store, "runs")[0], read_frame(store, "trace")[0], read(store, "env")[0])
        yield f"reports/{name}.html", html_page(data, f"usd-bench: {name}")
        runs = runs_frame(read(store, "runs")[0])
        evaluations = trace_frame(runs, read_frame(store, "trace")[0])
        curves = curves_figure(name, evaluations, "residual", "time_solve_s")
        yield f"reports/{name}-curves.svg", drawn(curves, "svg")
        if found := _ranks(runs):
            yield f"reports/{name}-ranks.svg", drawn(found[0], "svg")


def _results(stores: list[tuple[str, Path]]) -> str:
    lines = [
        "# Results",
        "",
        "Every number here is made from the Parquet files under `results/published` when the site is built. "
        "*Expected*: all that was spent until the residual was reached, or in vain, over the number of successes; "
        "*rate*: Wilson's interval, 95 %.",
    ]
    for name, store in stores:
        rows, env = (read(store, kind)[0] for kind in ("runs", "env"))
        runs = runs_frame(rows)
        evaluations = trace_frame(runs, read_frame(store, "trace")[0])
        machines = sorted({f"{_record(env, row['env_id'])}, {row['threads']} thread" for row in rows})
        commits = ", ".join(sorted({f"`{row['commit'][:7]}`" for row in rows}))
        lines += ["", f"## {name}", ""]
        where = f"{'; '.join(machines)}; commit {commits}"
        lines += [f"{len(rows)} runs; {where}. [Interactive report](reports/{name}.html)."]
        lines += ["", f"![Work and precision](reports/{name}-curves.svg)"]
        if found := _ranks(runs):
            lines += ["", f"![Average ranks](reports/{name}-ranks.svg)", "", found[1]]
        for target in TARGETS:
            lines += ["", markdown(summary(runs, evaluations, target), f"**Residual at most {target:g}**, seconds.")]
        lines += ["", f"A row again: `usd-bench reproduce RUN --out results/published/{name}`."]
    return "\n".join(lines) + "\n"


def _ranks(runs: pd.DataFrame) -> tuple[Figure, str] | None:
    """The critical-difference diagram and what it says, where enough methods ran on the same problems."""
    table = scores(runs)
    if table.shape[0] < 2 or table.shape[1] < 3:
        return None
    found = ranks(table)
    title = f"average rank of the median residual on {found.problems} problems"
    problems = ", ".join(f"`{name}`" for name in table.index)
    text = f"Friedman's p = {found.p_value:.2g} on {problems}. Methods under one bar do not differ (Nemenyi)."
    return ranks_figure(title, found), text


def _record(env: list[dict[str, Any]], env_id: str) -> str:
    record = json.loads(next(row["record"] for row in env if row["env_id"] == env_id))
    return f"{record['cpu']}, {record['cores']} cores, torch {record['torch']}"


def _classes(registry: Registry, kind: Any, settings: str) -> str:
    """A section for each registered class: its docstring, its settings, what to cite."""
    lines = [f"# {kind.capitalize()}"]
    for entry in registry.of(kind):
        cls = entry.load()
        lines += ["", f"## {entry.name}", "", f"*{entry.summary}*", "", _text(inspect.getdoc(cls) or "")]
        fields = getattr(cls, settings).model_fields
        if fields:
            lines += ["", "| setting | default | meaning |", "|---|---|---|"]
            for name, field in fields.items():
                about = (field.description or "").replace("|", "\\|")
                lines.append(f"| `{name}` | `{field.get_default(call_default_factory=True)}` | {about} |")
        if cls.bibtex:
            lines += ["", "```bibtex", cls.bibtex, "```"]
    return "\n".join(lines) + "\n"


def _text(docstring: str) -> str:
    """A docstring as Markdown: double backticks are code, indented formulas are blocks as they are."""
    return re.sub(r"``([^`]+)``", r"`\1`", docstring)


def _commands() -> str:
    lines = ["# Commands"]
    context = click.Context(cli, info_name="usd-bench")
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        lines += ["", f"## {name}"]
        for path, one in _with_subcommands(name, command):
            text = one.get_help(click.Context(one, info_name=f"usd-bench {path}"))
            lines += ["", "```text", text, "```"]
    return "\n".join(lines) + "\n"


def _with_subcommands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for sub in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), sub)
            if found is not None:
                yield f"{name} {sub}", found


def _decisions() -> str:
    lines = ["# Decisions", "", "What was decided against the first design, and why, with the measurements.", ""]
    for path in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"- [{title}](../decisions/{path.name})")
    return "\n".join(lines) + "\n"
