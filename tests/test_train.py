"""``usd-train`` and ``usd-eval``: one pairing from a file, and what a checkpoint is worth."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

from tests.conftest import called_here, one_line_error
from usd_bench.cli.eval import command as eval_command
from usd_bench.cli.train import command as train_command
from usd_bench.tensorfile import write_tensors

ROOT = Path(__file__).parent.parent
Program = Callable[..., subprocess.CompletedProcess[str]]

FILE = """\
problem: burgers
parameters:
  order: 1
solver: gauss_newton
settings:
  hidden: 6x5
  points: 60
seed: 4
max_iter: 12
until: res_max=1e-9
threads: 1
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A program in a folder of its own: ``program("usd-train", ...)``."""
    commands = {"usd-train": train_command, "usd-eval": eval_command}

    def call(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return called_here(tmp_path, commands[name], name, *arguments)

    return call


def train(program: Program, *arguments: str) -> dict:
    done = program("usd-train", "-q", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    return row


def test_a_file_says_everything_and_the_command_line_comes_before_it(program: Program, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(FILE)
    row = train(program, "--config", "one.yaml")
    config, budget = json.loads(row["config"]), json.loads(row["budget"])
    assert (row["problem"], row["order"], row["solver"], row["seed"]) == ("burgers", 1, "gauss_newton", 4)
    assert (config["hidden"], config["points"], config["damping"]) == ("6x5", 60, 1e-2)
    assert (budget["max_iter"], budget["until"]) == (12, {"res_max": 1e-9})
    over = ("-s", "gauss_newton[damping=1]", "-p", "burgers[order=0]", "--seed", "5", "--max-iter", "3")
    row = train(program, "--config", "one.yaml", *over)
    config = json.loads(row["config"])
    assert (row["order"], row["seed"], row["iterations"]) == (0, 5, 3)
    assert (config["hidden"], config["damping"]) == ("6x5", 1.0)
    row = train(program, "--config", "one.yaml", "-s", "adam", "--max-iter", "1")
    assert json.loads(row["config"])["hidden"] is None  # settings belong to a solver


def test_the_effective_file_makes_the_same_run_again(program: Program, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(FILE)
    first = train(program, "--config", "one.yaml")
    kept = tmp_path / "results" / "artifacts" / first["run_id"] / "config.yaml"
    assert yaml.safe_load(kept.read_text())["settings"]["acceleration"] is True
    again = train(program, "--config", str(kept), "--out", "elsewhere")
    assert (again["run_id"], again["lam"], again["res_max"]) == (first["run_id"], first["lam"], first["res_max"])


def test_it_is_the_run_of_usd_bench(program: Program, rows) -> None:
    (row,) = rows("-p", "burgers", "-s", "adam", "--max-iter", "3")
    assert train(program, "-p", "burgers", "-s", "adam", "--max-iter", "3", "--threads", "1") == row


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("solver: gauss_newton", "solver: gaus_newton"), "one.yaml:4: unknown solver 'gaus_newton'"),
        (("  points: 60", "  pionts: 60"), "one.yaml:7: gauss_newton has no parameter 'pionts'; did you mean 'points'"),
        (("  order: 1", "  order: 9"), "one.yaml:3: burgers[order=9]: input should be less than or equal to 3"),
        (("seed: 4", "seeds: 4"), "one.yaml:8: seeds: no such key; did you mean 'seed'?"),
        (("max_iter: 12", "max_iter: -1"), "one.yaml:9: max_iter: input should be greater than or equal to 0"),
        (("until: res_max=1e-9", "until: soon"), "one.yaml:10: until: cannot read 'soon'"),
        (("threads: 1", "checkpoint_every: often"), "one.yaml:11: checkpoint_every: cannot read 'often'"),
        (("problem: burgers", "problem: burgers,ccf"), "one.yaml:1: 'burgers,ccf' selects 2; expected one"),
        (("solver: gauss_newton\n", ""), "no solver is given, neither in a file nor with --solver"),
        (("problem: burgers", "problem: [a"), "one.yaml:2: not YAML"),
        (("seed: 4", "solver: adam"), "one.yaml:8: solver is given twice"),
        (("  points: 60", "  hidden: 4"), "one.yaml:7: hidden is given twice"),
        (("seed: 4", "seed: true"), "one.yaml:8: seed: expected a number"),
        ((FILE, ""), "one.yaml:1: expected a mapping, such as 'problem: burgers'"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_says_where(
    program: Program, tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    (tmp_path / "one.yaml").write_text(FILE.replace(*change))
    assert words in one_line_error(program("usd-train", "--config", "one.yaml"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-p", "burgers", "-s", "adam", "--until", "soon"), "cannot read 'soon'"),
        (("-p", "burgers", "-s", "adam", "--max-time", "inf"), "--max-time: expected a number of seconds"),
        (("-p", "burgers", "-s", "adam", "--track", "nothing"), "unknown tracker 'nothing'"),
        (("-p", "burgers", "-s", "adam", "--device", "abacus"), "expected cpu, cuda or cuda:N"),
        (("-p", "burgers", "-s", "adam[learning_rate=[1e-3,1e-2]]"), "selects 2; expected one"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(program: Program, arguments: tuple[str, ...], words: str) -> None:
    assert words in one_line_error(program("usd-train", *arguments))


def test_the_file_that_is_shipped_runs(program: Program) -> None:
    row = train(program, "--config", str(ROOT / "configs" / "base.yaml"), "--max-iter", "1", "--threads", "1")
    assert (row["problem"], row["solver"], row["status"]) == ("toy_ipm", "gauss_newton", "budget")


def test_a_checkpoint_is_measured_as_the_run_measured_it(program: Program, rows, tmp_path: Path) -> None:
    (row,) = rows("-p", "burgers", "-s", "gauss_newton[hidden=6x5,points=60]", "--max-iter", "12")
    folder = tmp_path / "results" / "artifacts" / row["run_id"]
    for name in ("best.ckpt", "profile.safetensors"):
        done = program("usd-eval", str(folder / name), "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        for column in ("run_id", "lam", "lam_ref", "res_max", "res_l2", "cond_max", "err_max", "lam_digits"):
            assert found[column] == row[column]
        assert found["iteration"] == row["iteration_best"]
    done = program("usd-eval", str(folder / "last.ckpt"), "--png", "fields.png")
    assert "\nlam         0.4" in done.stdout
    assert (tmp_path / "fields.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_no_checkpoint_is_one_line(program: Program, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not tensors")
    line = one_line_error(program("usd-eval", "notes.txt"))
    assert line.endswith("cannot be read as a checkpoint: it is damaged, or another kind of file")
    assert "does not exist" in one_line_error(program("usd-eval", "nothing.ckpt"))


def test_a_checkpoint_of_a_plugin_that_is_not_here_says_what_to_do(program: Program, tmp_path: Path) -> None:
    header = {"problem": "burgers", "parameters": {}, "solver": "of_a_plugin", "config": {}}
    write_tensors(tmp_path / "best.ckpt", "checkpoint", header, {})
    line = one_line_error(program("usd-eval", "best.ckpt"))
    assert "needs what is not here: unknown solver 'of_a_plugin'" in line
    assert "install the plugin that it came with, or give its folder with --plugins-dir" in line


@pytest.mark.parametrize("name", ["usd-train", "usd-eval"])
def test_the_installed_program_is_the_one_that_is_tested_here(name: str) -> None:
    (entry,) = entry_points(group="console_scripts", name=name)
    assert entry.value == f"usd_bench.cli.{name.removeprefix('usd-')}:main"
    done = subprocess.run([Path(sys.executable).parent / name, "--help"], capture_output=True, text=True)
    assert done.stdout.startswith(f"Usage: {name} ")


@pytest.mark.parametrize("name", ["usd-train", "usd-eval"])
def test_help_shows_examples_and_imports_no_torch(program: Program, name: str) -> None:
    assert f"\n  {name} " in program(name, "--help").stdout
    code = f"""
import sys
from {name.replace("usd-", "usd_bench.cli.")} import main
sys.argv = ["{name}", "--help"]
try:
    main()
finally:
    assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
