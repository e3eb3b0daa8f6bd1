"""The command line: fast help, tables for people, JSON for programs, one line for a mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PLUGINS, one_line_error

RUN = ("run", "-p", "burgers", "-s", "adam", "--max-iter", "0")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",), ("--version",), ("run", "--help"), ("list", "--help"), ("list", "problems"), ("list", "solvers"),
        ("list", "runs"), ("show", "--help"), ("env",), ("plugins", "list"), ("data", "generate", "--help"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_commands_that_compute_nothing_import_no_torch(arguments: tuple[str, ...], tmp_path: Path) -> None:
    code = f"""
import sys
from usd_bench.cli.main import main
try:
    main({list(arguments)!r})
except SystemExit as end:
    assert end.code == 0, end.code
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)


def test_help_lists_every_command_with_its_summary(cli) -> None:
    text = cli("--help").stdout
    for name in ("run", "list", "show", "data", "env", "plugins"):
        assert f"\n  {name} " in text
    assert "usd-bench run --problem toy_ipm --solver gauss_newton" in text


def test_every_command_shows_an_example_in_its_help(cli) -> None:
    for name in ("run", "list", "show", "data", "env", "plugins"):
        assert f"usd-bench {name}" in cli(name, "--help").stdout.split("Options:")[0].split("\n", 2)[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "-p", "burger", "-s", "adam"), "unknown problem 'burger'; did you mean 'burgers'"),
        (("run", "-p", "burgers", "-s", "adm"), "unknown solver 'adm'; did you mean 'adam'"),
        (("run", "-p", "burgers[order=4]", "-s", "adam"), "burgers[order=4]: input should be less than or equal to 3"),
        (("run", "-p", "burgers[order=-1]", "-s", "adam"), "greater than or equal to 0"),
        (("run", "-p", "burgers[order=x]", "-s", "adam"), "valid integer"),
        (("run", "-p", "burgers[ordr=1]", "-s", "adam"), "burgers has no parameter 'ordr'; did you mean 'order'"),
        (("run", "-p", "burgers[order=1", "-s", "adam"), "brackets do not match"),
        (("run", "-p", "burgers", "-s", "adam[hidden=16,16]"), "cannot read '16'"),
        (("run", "-p", "burgers", "-s", "adam[hidden=big]"), "widths joined by x"),
        ((*RUN, "--seeds", "0"), "--seeds"),
        ((*RUN, "--seeds", "many"), "--seeds"),
        ((*RUN, "--max-time", "0"), "--max-time"),
        ((*RUN, "--max-time", "nan"), "--max-time"),
        ((*RUN, "--max-time", "inf"), "--max-time"),
        ((*RUN, "--grace", "nan"), "--grace"),
        ((*RUN, "--until", "res_max=nan"), "expected metric=number"),
        ((*RUN, "--seed", "9223372036854775808"), "--seed"),
        ((*RUN, "--threads", "99999999999999999999"), "--threads"),
        (("run", "-p", "burgers", "-s", "adam[learning_rate=inf]"), "finite number"),
        (("data", "generate", "toy_ipm", "--n", "100000000"), "--n"),
        ((*RUN, "--until", "res_max"), "expected metric=number"),
        ((*RUN, "--until", "resmax=1"), "unknown metric 'resmax'; did you mean 'res_max'"),
        ((*RUN, "--device", "tpu"), "expected cpu, cuda"),
        ((*RUN, "--out", "/proc/nowhere"), "cannot write to /proc/nowhere"),
        ((*RUN, "--resume", "missing.ckpt"), "missing.ckpt does not exist"),
        ((*RUN, "--plugins-dir", "nowhere"), "not a folder"),
        (("run", "-p", "burgers"), "--solver"),
        (("show", "abc"), "no run 'abc'"),
        (("data", "generate", "toy"), "did you mean 'toy_ipm'"),
        (("data", "generate", "burgers,ipm"), "takes one problem"),
        (("nonsense",), "No such command 'nonsense'"),
        (("run", "--nonsense"), "--nonsense"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(cli, arguments: tuple[str, ...], words: str) -> None:
    assert words in one_line_error(cli(*arguments))


def test_a_place_where_nothing_can_be_written_is_refused_before_anything_runs(cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "choose another --out" in one_line_error(cli(*RUN, "--out", "file/results"))


def test_a_plugin_file_that_raises_is_one_line_and_exit_code_2(cli, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "broken_one.py").write_text("raise RuntimeError('boom')")
    line = one_line_error(cli(*RUN, "--plugins-dir", "mine"))
    assert "broken_one" in line
    assert "RuntimeError: boom" in line


def test_two_plugins_of_one_name_are_one_line_and_exit_code_2(cli, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same_name.py").write_text("")
    line = one_line_error(cli(*RUN, "--plugins-dir", "a", "--plugins-dir", "b"))
    assert f"{os.path.join('a', 'same_name.py')}" in line
    assert f"{os.path.join('b', 'same_name.py')}" in line


def test_an_installed_plugin_that_raises_is_a_warning_and_the_rest_works(cli, tmp_path: Path) -> None:
    (tmp_path / "lib" / "sick-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "lib" / "sick.py").write_text("raise RuntimeError('boom')")
    info = tmp_path / "lib" / "sick-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sick\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[usd_bench]\nsick = sick\n")
    env = {"PYTHONPATH": str(tmp_path / "lib")}
    listed = cli("list", "problems", env=env)
    assert listed.returncode == 0
    assert listed.stderr.startswith("Warning: plugin sick (sick 1.0) was skipped: RuntimeError: boom")
    assert "burgers" in listed.stdout
    assert "sick" in one_line_error(cli("list", "problems", env=env | {"USD_BENCH_STRICT_PLUGINS": "1"}))
    missing = cli("run", "-p", "burgers", "-s", "sick_solver", env=env)
    assert "plugin sick (sick 1.0) failed to load" in one_line_error(missing)
    doctor = cli("plugins", "doctor", env=env)
    assert doctor.returncode == 1
    assert "fault    plugin sick (sick 1.0) does not load: RuntimeError: boom" in doctor.stdout
    assert "failed" in cli("plugins", "list", env=env).stdout


BROKEN_CLASSES = """
from usd_bench.hookspecs import hookimpl
from usd_bench.solver import Solver, SolverConfig
from usd_bench.metrics import Metric

class Abstract(Solver):
    pass

class DictConfig(Solver):
    Config = dict

class Raising(Solver):
    init = step = profile = restore = None

    def __init__(self, config):
        raise ValueError("not today")

@hookimpl
def register_solvers(register):
    for cls in (Abstract, DictConfig, Raising):
        register(cls.__name__.lower(), cls)
    register("number", 42)
    register("missing", "no_such_module:Thing")
"""


@pytest.mark.parametrize(
    ("solver", "words"),
    [
        ("abstract", "does not keep the contract: TypeError"),
        ("dictconfig", "does not keep the contract"),
        ("raising", "does not keep the contract: ValueError: not today"),
        ("number", "registered as 42, which is not a Solver"),
        ("missing", "cannot be loaded from 'no_such_module:Thing'"),
    ],
)
def test_a_class_that_breaks_the_contract_is_one_line(cli, tmp_path: Path, solver: str, words: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "broken_classes.py").write_text(BROKEN_CLASSES)
    assert words in one_line_error(cli("run", "-p", "burgers", "-s", solver, "--plugins-dir", "mine"))


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ('"mine", 42', "is 42, which is not a Metric"),
        ('"lam", Metric("lam", "lower", lambda m: 0.0)', "has the name of a column"),
        ('"run_id", Metric("run_id", "lower", lambda m: 0.0)', "has the name of a column"),
    ],
)
def test_a_metric_that_is_none_or_takes_a_column_is_one_line(cli, tmp_path: Path, metric: str, words: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "broken_metric.py").write_text(
        "from usd_bench.hookspecs import hookimpl\nfrom usd_bench.metrics import Metric\n"
        f"@hookimpl\ndef register_metrics(register):\n    register({metric})\n"
    )
    assert words in one_line_error(cli(*RUN, "--plugins-dir", "mine"))


@pytest.mark.parametrize("part", ["runs", "trace", "env", "artifacts"])
def test_a_store_that_cannot_be_written_is_found_out_before_the_run(cli, tmp_path: Path, part: str) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / part).write_text("")
    line = one_line_error(cli(*RUN))
    assert f"cannot write to {os.path.join('results', part)}" in line
    assert line.endswith("choose another --out")


def test_json_is_valid_whatever_was_measured_and_integers_stay_integers(cli, tmp_path: Path) -> None:
    cli("run", "-p", "burgers", "-s", "infinite", "--plugins-dir", str(PLUGINS), "--max-iter", "2", "-q")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    (row,) = json.loads(cli("list", "runs", "--json").stdout, parse_constant=refuse)
    assert row["status"] == "diverged"
    shown = json.loads(cli("show", row["run_id"], "--json").stdout, parse_constant=refuse)
    assert shown == row
    assert (shown["seed"], shown["iterations"]) == (0, 0)


def test_a_failed_repeat_leaves_nothing_of_the_attempt_before(cli, tmp_path: Path) -> None:
    command = ("run", "-p", "burgers", "-s", "flaky", "--plugins-dir", str(PLUGINS), "--max-iter", "2", "-q")
    assert cli(*command).returncode == 0
    (row,) = json.loads(cli("list", "runs", "--json").stdout)
    assert "picture" in cli("show", row["run_id"], "--plugins-dir", str(PLUGINS)).stdout
    assert cli(*command, "--force", env={"FLAKY": "1"}).returncode == 1
    assert {p.name for p in (tmp_path / "results" / "artifacts" / row["run_id"]).iterdir()} == {
        "config.yaml", "metrics.csv", "worker.log",
    }  # fmt: skip
    shown = cli("show", row["run_id"], "--plugins-dir", str(PLUGINS))
    assert shown.returncode == 0
    assert "no picture" in shown.stderr


def test_a_damaged_file_in_the_store_is_named_and_the_rest_is_shown(cli, tmp_path: Path) -> None:
    assert cli(*RUN).returncode == 0
    bad = tmp_path / "results" / "runs" / "feed.parquet"
    bad.write_bytes(b"PAR1 nonsense")
    listed = cli("list", "runs")
    assert listed.returncode == 0
    assert "feed.parquet cannot be read as Parquet and was skipped" in listed.stderr
    assert "adam" in listed.stdout
    again = cli(*RUN)
    assert "feed.parquet" in again.stderr
    assert "1 of 1 runs are stored" in again.stderr
    assert "feed.parquet" in one_line_error(cli("show", "feed"))
    assert bad.read_bytes() == b"PAR1 nonsense"


def test_show_prints_every_column_and_draws_the_fields(cli, tmp_path: Path) -> None:
    cli("run", "-p", "burgers,toy_ipm", "-s", "gauss_newton[hidden=6x5,points=60]", "--max-iter", "3")
    runs = json.loads(cli("list", "runs", "--json").stdout)
    assert len(runs) == 2
    for row in runs:
        done = cli("show", row["run_id"][:10])
        assert done.returncode == 0, done.stderr
        assert row["run_id"] in done.stdout
        assert "res_max" in done.stdout
        png = tmp_path / "results" / "artifacts" / row["run_id"] / "run.png"
        assert png.read_bytes().startswith(b"\x89PNG")
        assert png.stat().st_size > 10_000
    assert json.loads(cli("show", runs[0]["run_id"], "--json").stdout)["run_id"] == runs[0]["run_id"]


def test_env_names_the_machine_the_software_and_the_commit(cli) -> None:
    record = json.loads(cli("env", "--json").stdout)
    assert {"env_id", "commit", "cpu", "cores", "python", "torch", "numpy"} <= set(record)


def test_quiet_prints_nothing(cli) -> None:
    done = cli(*RUN, "-q")
    assert (done.stdout, done.stderr) == ("", "")


def test_plain_lines_tell_how_a_run_starts_and_ends(cli) -> None:
    lines = cli(*RUN).stderr.splitlines()
    assert lines == ["start  burgers · adam · seed 0", "1/1    budget: burgers · adam · seed 0 (0 iterations)"]


def test_cite_prints_every_entry_once(cli) -> None:
    done = cli("cite", "--all")
    assert done.returncode == 0, done.stderr
    keys = [line.partition("{")[2].rstrip(",") for line in done.stdout.splitlines() if line.startswith("@")]
    assert len(keys) == len(set(keys))
    assert {"usd_bench", "kingma2015adam", "wang2025discovery", "albaali1998", "eggers2009"} <= set(keys)
    assert done.stdout.count("{") == done.stdout.count("}")
    assert cli("cite", "-s", "adam").stdout.count("@") == 2
    assert "did you mean 'adam'" in one_line_error(cli("cite", "-s", "adams"))
    assert "gives nothing" not in done.stderr
