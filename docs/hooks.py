"""Pages of the site that are made from the code and from ``results/published`` while it is built: mkdocs hooks."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import pandas as pd

from usd_bench.analysis.frames import runs_frame, trace_frame
from usd_bench.analysis.ranks import ranks, scores
from usd_bench.analysis.summary import summary
from usd_bench.analysis.truth import markdown as truth
from usd_bench.analysis.truth import truth_rows
from usd_bench.cli.main import cli
from usd_bench.drawing import drawn
from usd_bench.problem import Problem
from usd_bench.registry import Registry
from usd_bench.report.comparisons import curves_figure, ranks_figure
from usd_bench.report.data import report_data
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


Page = tuple[str, str | bytes]


def pages() -> Iterator[Page]:
    """Path and content of every generated file."""
    stores = [_store(path) for path in stores_in(PUBLISHED)]
    summaries = {store.name: summary(store.runs, store.evaluations, TARGETS[-1]) for store in stores}
    registry = Registry.load()
    yield from _reference(registry, "problems", "Parameters", summaries)
    yield from _reference(registry, "solvers", "Config", summaries)
    yield "reference/commands.md", _commands()
    yield "reference/decisions.md", _decisions()
    yield "limits.md", _limits()
    yield "results.md", _results(stores)
    for store in stores:
        data = report_data(store.rows, store.trace, store.env)
        yield f"reports/{store.name}.html", html_page(data, f"usd-bench: {store.name}")
        curves = curves_figure(store.name, store.evaluations, "residual", "time_solve_s")
        yield f"reports/{store.name}-curves.svg", drawn(curves, "svg")
        if found := _ranks(store.runs):
            yield f"reports/{store.name}-ranks.svg", drawn(found[0], "svg")


class Store(NamedTuple):
    """A published store, as rows and as frames."""

    name: str
    rows: list[dict[str, Any]]
    env: list[dict[str, Any]]
    trace: pd.DataFrame
    runs: pd.DataFrame
    evaluations: pd.DataFrame


def _store(path: Path) -> Store:
    rows, env = (read(path, kind)[0] for kind in ("runs", "env"))
    trace, runs = read_frame(path, "trace")[0], runs_frame(rows)
    return Store(path.relative_to(PUBLISHED).as_posix(), rows, env, trace, runs, trace_frame(runs, trace))


def _results(stores: list[Store]) -> str:
    lines = [
        "# Results",
        "",
        "Every number here is made from the Parquet files under `results/published` when the site is built. "
        "*Expected*: all that was spent until the residual was reached, or in vain, over the number of successes; "
        "*rate*: Wilson's interval, 95 %.",
    ]
    for store in stores:
        name, rows = store.name, store.rows
        machines = sorted({f"{_record(store.env, row['env_id'])}, {row['threads']} thread" for row in rows})
        commits = ", ".join(sorted({f"`{row['commit'][:7]}`" for row in rows}))
        lines += ["", f"## {name}", ""]
        where = f"{'; '.join(machines)}; commit {commits}"
        lines += [f"{len(rows)} runs; {where}. [Interactive report](reports/{name}.html)."]
        lines += ["", f"![Work and precision](reports/{name}-curves.svg)"]
        if found := _ranks(store.runs):
            lines += ["", f"![Average ranks](reports/{name}-ranks.svg)", "", found[1]]
        for target in TARGETS:
            lines += [
                "",
                markdown(summary(store.runs, store.evaluations, target), f"**Residual at most {target:g}**, seconds."),
            ]
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


def _reference(registry: Registry, kind: Any, settings: str, summaries: dict[str, pd.DataFrame]) -> Iterator[Page]:
    """An index, and a page for each class: docstring, settings, known answers, what was measured, citation."""
    index = [f"# {kind.capitalize()}", "", "| name | |", "|---|---|"]
    for entry in registry.of(kind):
        cls = entry.load()
        index.append(f"| [`{entry.name}`]({kind}/{entry.name}.md) | {entry.summary} |")
        lines = [f"# {entry.name}", "", f"*{entry.summary}*", "", _text(inspect.getdoc(cls) or "")]
        lines += _settings(getattr(cls, settings))
        if kind == "problems":
            lines += ["", "## Known answers", "", truth(truth_rows(_known(registry, entry.name)))]
        lines += _measured(kind, entry.name, summaries)
        if cls.bibtex:
            lines += ["", "## Cite", "", "```bibtex", cls.bibtex, "```"]
        yield f"reference/{kind}/{entry.name}.md", "\n".join(lines) + "\n"
    yield f"reference/{kind}.md", "\n".join(index) + "\n"


def _settings(model: Any) -> list[str]:
    if not model.model_fields:
        return []
    lines = ["", "## Settings", "", "| setting | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        about = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{name}` | `{field.get_default(call_default_factory=True)}` | {about} |")
    return lines


def _known(registry: Registry, name: str) -> list[tuple[str, Problem]]:
    """The problem at every order and parameter with a target or a stored profile."""
    build = registry.get("problems", name).load()
    return [(name, build(**parameters)) for parameters in build().known()]


def _measured(kind: str, name: str, summaries: dict[str, pd.DataFrame]) -> list[str]:
    """What the published stores say of it, at the smaller target."""
    column = "instance" if kind == "problems" else "method"
    lines = []
    for store, table in summaries.items():
        chosen = table[table[column].str.split("[").str[0] == name]
        if len(chosen):
            caption = f"[{store}](../../results.md#{store}): residual at most {TARGETS[-1]:g}, seconds."
            lines += ["", markdown(chosen, caption)]
    return ["", "## Measured", *lines] if lines else []


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


def _limits() -> str:
    """The README's section, with links that hold here."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    match = re.search(r"^## Limits\n(.*?)(?=^## )", text, re.S | re.M)
    assert match is not None, "the README has no section Limits"
    return "# Limits\n" + match[1].replace("](docs/", "](")


def _decisions() -> str:
    lines = ["# Decisions", "", "What was decided against the first design, and why, with the measurements.", ""]
    for path in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"- [{title}](../decisions/{path.name})")
    return "\n".join(lines) + "\n"
