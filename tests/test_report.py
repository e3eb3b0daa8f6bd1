"""The report page: what it says is what the rows say, it needs no network, and a browser shows it without an error."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from tests.test_compare import row
from usd_bench.report.data import COPIED, TARGETS, report_data
from usd_bench.report.html import html_page
from usd_bench.report.table import latex
from usd_bench.store.writer import write_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian's package chromium)")


def evaluations(run: dict, residuals: list[float]) -> list[dict]:
    """A trace with one evaluation a second."""
    return [
        {
            "iteration": 10 * i,
            "in_bracket": True,
            "lam": 0.5 + residual,
            "res_max": residual,
            "cond_max": 1e-14,
            "n_residual": 20 * i,
            "n_jacobian": 10 * i,
            "n_jvp": 0,
            "n_vjp": 0,
            "n_linear_solve": 0,
            "time_solve_s": float(i) * run["time_solve_s"],
            "time_eval_s": 0.1 * i,
        }
        for i, residual in enumerate(residuals)
    ]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two solvers on two problems, three seeds: lbfgs is best on burgers, adam on ccf, one run failed."""
    out = tmp_path / "results"
    for problem, times in {"burgers": {"adam": 8.0, "lbfgs": 2.0}, "ccf": {"adam": 1.0, "lbfgs": 3.0}}.items():
        for solver, time in times.items():
            for seed in range(3):
                failed = (problem, solver, seed) == ("burgers", "adam", 2)
                known = {"lam": 0.5, "lam_ref": 0.5, "iterations": 20, "err_max": None}
                values = {"problem": problem, "solver": solver} | known
                run = row(seed, time, **values)
                if failed:
                    run |= {"status": "error", "reason": "</script><script>document.title='broken'</script>"}
                write_run(out, run, [] if failed else evaluations(run, [1.0, 1e-3, 1e-6]), {"cpu": "Test CPU"})
    return out


def page_of(cli, store: Path) -> Path:
    done = cli("report")
    assert done.returncode == 0, done.stderr
    assert "12 runs" in done.stdout
    return store / "report.html"


def test_costs_of_targets_are_those_of_the_first_evaluation_below_them(cli, store: Path) -> None:
    text = page_of(cli, store).read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    run = next(r for r in data["runs"] if r["seed"] == 1 and r["time_solve_s"] == 8.0)
    assert data["methods"][run["method"]] == "adam"
    assert data["instances"][run["problem"]] == "burgers[order=0]"
    # seconds, iterations, evaluations
    assert [run["hits"][TARGETS.index(t)] for t in (1.0, 1e-3, 1e-6)] == [[0, 0, 0], [8.0, 10, 30], [16.0, 20, 60]]
    assert len(run["hits"]) == 7
    failed = next(r for r in data["runs"] if r["status"] == "error")
    assert failed["hits"] == []
    curve = data["curves"]["residual"]["time_solve_s"][str(run["problem"])][str(run["method"])]
    assert (curve[0][-1], curve[1][-1]) == (16.0, 1e-6)


def test_the_page_loads_nothing_from_anywhere_and_is_small(cli, store: Path) -> None:
    text = page_of(cli, store).read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)|@import|url\((?!data:)|\bfetch\(|XMLHttpRequest""", text)
    assert len(text) < 500_000
    assert text.count("<script") == 2  # what a reason says is text


def test_a_title_is_escaped_and_a_store_without_runs_is_refused(cli, tmp_path: Path) -> None:
    assert "<h1>a &lt; b</h1>" in html_page(
        report_data([dict.fromkeys([*COPIED, "in_bracket"]) | row(0)], pd.DataFrame(), []), "a < b"
    )
    done = cli("report")
    assert done.returncode == 2
    assert "nothing to report" in done.stderr


def shown(page: Path, selection: str = "", width: int = 1200) -> tuple[str, str]:
    """The document as Chromium renders it, and what it says on the console."""
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *(f"--window-size={width},900", "--virtual-time-budget=20000", "--dump-dom", f"file://{page}{selection}"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def answer_in(document: str) -> str:
    return unescape(re.sub("<[^>]*>", "", re.search(r'<p id="answer"[^>]*>(.*?)</p>', document, re.S)[1]))


@browser
@pytest.mark.parametrize(
    ("problem", "best", "factor"), [("burgers[order=0]", "lbfgs", "5 times"), ("ccf[order=0]", "adam", "3 times")]
)
def test_filtered_to_one_problem_the_page_names_its_winner(
    cli, store: Path, problem: str, best: str, factor: str
) -> None:
    document, console = shown(page_of(cli, store), f"#problem={problem}&target=1e-6")
    assert console == ""
    answer = answer_in(document)
    # burgers: lbfgs 4 s; adam twice 16 s and 8 s in vain, over two successes.
    assert answer.startswith(f"{best}: 3 of 3 runs to 1e-6")
    assert factor in answer
    assert "Test CPU" in answer
    assert re.search(r"usd-bench reproduce \S+", answer)
    ranking = re.search(r'<table id="ranking".*?</table>', document, re.S)[0]
    other = ({"burgers[order=0]", "ccf[order=0]"} - {problem}).pop()
    assert problem in ranking
    assert other not in ranking


def test_the_summary_counts_failures_and_ranks_by_expected_cost(cli, store: Path) -> None:
    done = cli("report", "--table", "markdown", "--target", "1e-3")
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line[:1] == "|"]
    assert rows[0][:5] == ["problem", "solver", "solved", "rate", "expected"]
    # On burgers lbfgs needs 2 s; adam twice 8 s, and 8 s in the run that failed, over two successes.
    assert [row[:3] + row[4:6] for row in rows[2:]] == [
        ["burgers[order=0]", "lbfgs", "3 of 3", "2", "1"],
        ["burgers[order=0]", "adam", "2 of 3", "12", "6"],
        ["ccf[order=0]", "adam", "3 of 3", "1", "1"],
        ["ccf[order=0]", "lbfgs", "3 of 3", "3", "3"],
    ]
    by_work = cli("report", "--table", "markdown", "--target", "1e-9", "--cost", "work").stdout
    assert by_work.count("never | never") == 4


def test_a_latex_table_is_escaped(cli, store: Path) -> None:
    text = cli("report", "--table", "latex").stdout
    assert text.startswith("\\begin{table}")
    assert text.rstrip().endswith("\\end{table}")
    assert text.count(r"\\") == 5
    assert "×" not in text
    assert latex(summary_of("a_b & 50%"), "c").count(r"a\_b \& 50\%") == 1


def summary_of(method: str) -> pd.DataFrame:
    values = {
        "runs": 1,
        "solved": 0,
        "rate_low": 0.0,
        "rate_high": 0.8,
        "expected": float("inf"),
        "ratio": float("inf"),
    }
    return pd.DataFrame([{"instance": "x", "method": method, "residual": 1.0, "digits": float("nan")} | values])


@browser
def test_the_page_and_the_table_agree_on_every_rank(cli, store: Path) -> None:
    """The page computes its ranking itself, from the selection: another implementation of the same definitions."""
    document, _ = shown(page_of(cli, store), "#target=0.001")
    ranking = re.search(r'<table id="ranking".*?</table>', document, re.S)[0]
    lines = re.findall(r"<tr>(.*?)</tr>", ranking.split("<tbody>")[1], re.S)
    page = [[unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", line)] for line in lines]
    done = cli("report", "--table", "markdown", "--target", "1e-3").stdout
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.splitlines() if line[:1] == "|"][2:]
    assert [row[:4] for row in page] == [row[:4] for row in table]
    for one, other in zip(page, table, strict=True):
        for column in (4, 5):
            assert float(one[column]) == pytest.approx(float(other[column]), rel=5e-3)


@browser
def test_fields_of_the_best_run_are_drawn(cli, rows, tmp_path: Path) -> None:
    small = "gauss_newton[hidden=6x5,points=60]"
    rows("-p", "burgers", "-s", small, "--max-iter", "3")
    rows("-p", "toy_ipm", "-s", small, "--max-iter", "1")
    assert cli("report").returncode == 0
    page = tmp_path / "results" / "report.html"
    document, console = shown(page, "#problem=burgers[order=0]")
    assert console == ""
    fields = re.search(r'<div id="fields".*?<div id="spectrum"', document, re.S)[0]
    assert re.findall(r'<figure id="field-(\w+)"', fields) == ["W"]
    assert "<canvas" in fields
    document, console = shown(page, "#problem=toy_ipm[order=0]")
    assert console == ""
    assert re.findall(r'<figure role="img" aria-label="(\w+):', document) == ["T", "chi"]


@browser
def test_figures_tables_and_failures_are_drawn_on_wide_and_narrow_screens(cli, store: Path) -> None:
    page = page_of(cli, store)
    for width in (1200, 360):
        document, console = shown(page, width=width)
        assert console == ""
        for name in ("curves", "profile", "ecdf"):
            figure = re.search(rf'<figure id="{name}".*?</figure>', document, re.S)[0]
            assert "<canvas" in figure
            assert figure.count('class="u-series"') == 2  # a row for each solver, none for the edges of its band
            assert f'download="{name}.csv"' in figure
        assert "<title>usd-bench: results</title>" in document  # the reason of the failed run was not carried out
        failures = re.search(r'<table id="failures".*?</table>', document, re.S)[0]
        assert "document.title" in unescape(failures)
        assert "error" in failures


def test_curves_are_drawn_for_every_problem_and_named_for_every_solver(cli, store: Path, tmp_path: Path) -> None:
    done = cli("report", "--out", str(store), "--curves", str(tmp_path / "curves.svg"))
    assert done.returncode == 0, done.stderr
    picture = (tmp_path / "curves.svg").read_text(encoding="utf-8")
    for name in ("burgers[order=0]<", "ccf[order=0]<", ">adam<", ">lbfgs<", "residual against seconds in the solver<"):
        assert name in picture
    cli("report", "--out", str(store), "--curves", str(tmp_path / "curves.png"))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_curves_without_a_trace_are_refused(cli, tmp_path: Path) -> None:
    write_run(tmp_path / "results", row(0, iterations=1), [], {"cpu": "Test CPU"})
    done = cli("report", "--curves", "curves.svg")
    assert done.returncode == 2
    assert "no run has a trace" in done.stderr
