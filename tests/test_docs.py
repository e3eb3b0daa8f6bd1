"""The docs say what the code does: commands, hooks, columns, and code that runs."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import click
import pandas as pd
import pytest
import yaml

from tests.test_report import browser, shown
from usd_bench import __version__, hookspecs
from usd_bench.cli import eval as evaluate
from usd_bench.cli import train
from usd_bench.cli.main import cli as commands
from usd_bench.registry import KINDS, Registry
from usd_bench.run.suite import Budgets, read_suite
from usd_bench.scaffold import create
from usd_bench.store.reader import read
from usd_bench.store.validate import stores_in

ROOT = Path(__file__).parent.parent
PROGRAMS = {"train": train.command, "eval": evaluate.command}


def test_generated_parts_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_one_changed_value_of_a_published_file_is_noticed(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in ("docs", "results/published", "README.md"):
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    check = [sys.executable, copy / "docs" / "generate.py", "--check"]
    assert subprocess.run(check, capture_output=True).returncode == 0
    path = next((copy / "results" / "published" / "accuracy" / "trace").glob("*.parquet"))
    trace = pd.read_parquet(path)
    trace.loc[1, "res_max"] *= 1 + 1e-15
    trace.to_parquet(path)
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == "results/published/SHA256SUMS is stale\n"


def test_ci_runs_the_commands_of_the_readme() -> None:
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    for command in ("make quick", "make test"):
        assert f"\n    {command}" in readme
        assert f"\n{command} " in ci


def test_every_hook_is_documented_and_shows_an_example() -> None:
    page = (ROOT / "docs" / "extending.md").read_text()
    for kind in KINDS:
        hook = getattr(hookspecs, f"register_{kind}")
        assert f"`{hook.__name__}`" in page
        assert 'register("' in hook.__doc__


def test_the_solver_of_the_plugin_page_runs(cli, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "extending.md").read_text()
    source = re.search(r"```python\n(.*?)```", page, re.S)[1]
    (tmp_path / "my_plugins").mkdir()
    (tmp_path / "my_plugins" / "random_search.py").write_text(source, encoding="utf-8")
    command = re.search(r"    usd-bench (run .*random_search.*)", page)[1].split()
    done = cli(*command, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["solver"], row["status"]) for row in rows] == [("random_search", "budget"), ("gauss_newton", "budget")]
    assert rows[0]["res_max"] > rows[1]["res_max"]
    shown = cli("show", rows[0]["run_id"], "--plugins-dir", "my_plugins")
    assert "picture" in shown.stdout


def test_the_diff_of_the_extending_page_adds_a_solver_at_run_time(cli, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "extending.md").read_text()
    (tmp_path / "rprop.diff").write_text(re.search(r"```diff\n(.*?)```", page, re.S)[1], encoding="utf-8")
    subprocess.run(["git", "apply", "rprop.diff"], cwd=tmp_path, check=True)
    command = re.search(r"    usd-bench (run .*rprop.*)", page)[1].split()
    done = cli(*command, "--json", "--threads", "1")
    assert done.returncode == 0, done.stderr
    rows = {(row["solver"], row["seed"]): row for row in json.loads(done.stdout)}
    for seed in (0, 1):
        assert rows["rprop", seed]["res_max"] < rows["adam", seed]["res_max"]
    traces = {}
    for row in rows.values():
        folder = tmp_path / "results" / "artifacts" / row["run_id"]
        first = (folder / "metrics.csv").read_text().splitlines()[1].split(",")
        traces[row["solver"], row["seed"]] = first[1:4]
    assert traces["rprop", 0] == traces["adam", 0] != traces["adam", 1]  # the same start


def test_every_command_in_the_docs_can_be_parsed() -> None:
    """Names of commands and options, their types and choices; what they name (runs, folders) may be missing."""
    found = 0
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for line in path.read_text(encoding="utf-8").splitlines():
            match = re.match(r"    (?:\.venv/bin/)?usd-(bench|train|eval) ([a-z.-].*)", line)
            if match is None:
                continue
            arguments = list(itertools.takewhile(lambda word: ">" not in word, shlex.split(match[2], comments=True)))
            name = match[1] if match[1] != "bench" else arguments.pop(0)
            command = PROGRAMS.get(match[1]) or commands.get_command(click.Context(commands), name)
            assert command is not None, line
            for parameter in command.params:
                if isinstance(parameter.type, click.Path):
                    parameter.type.exists = False
            command.make_context(name, arguments, resilient_parsing=False)
            found += 1
    assert found > 25


def test_the_site_has_every_problem_solver_command_and_published_store() -> None:
    hooks = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(hooks)
    hooks.loader.exec_module(module)
    pages = dict(module.pages())
    registry = Registry.load()
    for kind in ("problems", "solvers"):
        for entry in registry.of(kind):
            assert f"({kind}/{entry.name}.md)" in pages[f"reference/{kind}.md"]
            assert pages[f"reference/{kind}/{entry.name}.md"].startswith(f"# {entry.name}\n")
    assert "1.180777662" in pages["reference/problems/ccf.md"]
    for entry in registry.of("commands"):
        assert f"\n## {entry.name}\n" in pages["reference/commands.md"]
    for path in (ROOT / "docs" / "decisions").glob("*.md"):
        assert path.name in pages["reference/decisions.md"]
    assert "\n- A measured residual is not a proof" in pages["limits.md"]
    stores = stores_in(ROOT / "results" / "published")
    for store in stores:
        assert f"\n## {store.name}\n" in pages["results.md"]
        assert f"{len(read(store, 'runs')[0])} runs" in pages["results.md"]
        assert 'id="data"' in pages[f"reports/{store.name}.html"]
        assert b"<svg" in pages[f"reports/{store.name}-curves.svg"]
    assert stores


def test_every_file_the_readme_points_to_exists() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_the_citation_file_has_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__


@browser
def test_every_displayed_formula_is_typeset(tmp_path: Path) -> None:
    formulas = re.findall(r"\$\$\n(.*?)\$\$", (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8"), re.S)
    assert len(formulas) >= 15
    katex = ROOT / "docs" / "assets" / "katex" / "katex.min.js"
    calls = (
        f"for (const one of {json.dumps(formulas)}) out.innerHTML += katex.renderToString(one, {{displayMode: true}});"
    )
    page = tmp_path / "formulas.html"
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><p id="out"></p><script src="file://{katex}"></script><script>{calls}</script>'
    )
    document, console = shown(page)
    assert not console
    assert document.count('class="katex-display"') == len(formulas)


@pytest.mark.parametrize(
    ("page", "kind", "name"), [("write-a-solver", "solver", "my_method"), ("write-a-problem", "problem", "my_equation")]
)
def test_the_blocks_of_a_tutorial_are_the_package_that_passes_its_tests(
    tmp_path: Path, page: str, kind: str, name: str
) -> None:
    """That package is tested in test_conformance; here: whoever copies the blocks has it."""
    create(kind, name, tmp_path)
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text("utf-8"), re.S)
    files = {path.read_text("utf-8") for path in tmp_path.rglob("*") if path.suffix in (".py", ".toml")}
    assert set(blocks) <= files
    assert (tmp_path / f"usd_{name}" / f"{name}.py").read_text("utf-8") in blocks


def test_the_suite_of_the_suites_page_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "suites.md").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.S)[1], encoding="utf-8")
    jobs = read_suite(tmp_path / "mine.yaml").jobs(Registry.load(), Budgets(), "cpu")
    assert len(jobs) == (3 * 3 + 1) * 3


def test_the_program_of_the_performance_page_runs_under_torchrun(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    program = re.search(r"```python\n(.*?)```", page, re.S)[1]
    command = re.match(r"# (torchrun .*)\n", program)[1].split()
    assert "range(50)" in program
    end = "assert state.iteration == 2\ndistributed.destroy_process_group()\n"
    (tmp_path / "step.py").write_text(program.replace("range(50)", "range(2)") + end, encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", *command[1:]]
    quiet = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(torchrun, cwd=tmp_path, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_program_of_the_operations_page_runs() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    program = re.search(r"\n    from usd_bench(.*)\n(    .*\n)+", page)[0]
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


def test_the_commands_of_the_certificates_page_do_what_it_says(cli, rows, tmp_path: Path) -> None:
    (row,) = rows("-p", "burgers", "-s", "gauss_newton", "--max-iter", "60")
    page = (ROOT / "docs" / "certify.md").read_text(encoding="utf-8").replace("/RUN/", f"/{row['run_id']}/")
    done = []
    for line in re.findall(r"^    (?:usd-bench|python -m) (certify .*|usd_bench.certificate.check .*)", page, re.M):
        words = shlex.split(line.replace("RUN", row["run_id"]))
        if "--box" in words:  # of a run in two dimensions
            continue
        if words[0] == "certify":
            few = [] if "--points" in words or "--verify" in words else ["--points", "20"]
            result = cli(*words, *few, "-q")
        else:
            result = subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        done.append("holds" in result.stdout)
    assert done == [False, True, False, False, True, True]


def test_the_store_reads_as_the_readme_says(cli, tmp_path: Path) -> None:
    program = re.search(r"\n    import pandas\n(    .*\n)+", (ROOT / "README.md").read_text(encoding="utf-8"))[0]
    cli("run", "-p", "burgers", "-s", "adam", "--max-iter", "2", "--threads", "1")
    code = textwrap.dedent(program).replace("pandas.read", "found = pandas.read") + "\nassert len(found) == 1"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_block_of_the_docs_is_in_a_language_that_no_test_reads() -> None:
    tested = {
        "cluster.md": ["python"] * 4,
        "extending.md": ["python", "diff", "toml"],
        "performance.md": ["python"],
        "suites.md": ["yaml"],
        "write-a-solver.md": ["python", "toml", "python", "python"],
        "write-a-problem.md": ["python", "python", "python"],
    }
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        blocks = re.findall(r"^```([a-z]+)", path.read_text(encoding="utf-8"), re.M)
        assert blocks == tested.get(path.name, []), path.name


def test_the_entry_point_of_the_extending_page_is_the_one_of_this_project() -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    block = tomllib.loads(re.search(r"```toml\n(.*?)```", page, re.S)[1])
    assert set(block["project"]["entry-points"]) == {"usd_bench"}
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(ours["project"]["entry-points"]) == {"usd_bench"}
