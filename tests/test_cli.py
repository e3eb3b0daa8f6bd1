"""The command line: fast help, tables for people, JSON for programs, one line for a mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import one_line_error

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
