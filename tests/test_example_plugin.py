"""The example plugin, as a third party would ship it: built, installed beside usd-bench, and run by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")
CLEAN = os.environ | {"PYTHONPATH": ""}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, env=CLEAN, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of usd-bench and of the example, built from copies."""
    folder = tmp_path_factory.mktemp("wheels")
    ignored = shutil.ignore_patterns(".venv", ".git", "results", "site", "__pycache__", ".*_cache", ".asv", "data")
    shutil.copytree(ROOT, folder / "copy", ignore=ignored)
    sources = [folder / "copy", folder / "copy" / "plugins" / "example"]
    run(sys.executable, *PIP, "wheel", "--no-deps", "--wheel-dir", folder / "dist", *sources, cwd=folder)
    found = sorted((folder / "dist").glob("*.whl"))
    assert [path.name.split("-")[0] for path in found] == ["usd_bench", "usd_example"]
    return found


def checked(python: Path, folder: Path) -> None:
    """The plugin is found, has no faults, and runs."""
    code = "import usd_bench, usd_example; print(usd_bench.__file__, usd_example.__file__)"
    where = run(python, "-c", code, cwd=folder)
    assert all(path.startswith(str(python.parent.parent)) for path in where.split()), where
    usd_bench = (python, "-m", "usd_bench")
    listed = json.loads(run(*usd_bench, "plugins", "list", "--json", cwd=folder))
    (example,) = [plugin for plugin in listed if plugin["plugin"] == "example"]
    assert example == {
        "plugin": "example",
        "origin": "usd-example 0.1.0",
        "state": "loaded",
        "provides": "solvers: barzilai_borwein; metrics: res_far",
    }
    verdicts = run(*usd_bench, "plugins", "doctor", cwd=folder)
    assert "ok       solver barzilai_borwein of example (usd-example 0.1.0)" in verdicts
    command = ("run", "--problem", "burgers", "--solver", "barzilai_borwein", "--max-iter", "60", "--threads", "1")
    (row,) = json.loads(run(*usd_bench, *command, "--until", "res_far=1e-12", "--json", "-q", cwd=folder))
    assert (row["status"], row["iterations"], row["commit"]) == ("budget", 60, "release")
    assert 0 < json.loads(row["metrics"])["res_far"] <= row["res_max"] < 1


def test_its_wheel_beside_ours_is_found_by_name_and_runs(wheels: list[Path], tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, *PIP, "--python", python, "install", "--no-deps", *wheels, cwd=tmp_path)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=tmp_path).strip()
    # Dependencies from here, after what is installed there; installing torch anew takes a minute.
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    checked(python, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_in_an_empty_environment_it_runs_and_passes_its_own_tests(wheels: list[Path], tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, *PIP, "install", "-c", ROOT / "constraints.txt", *wheels, "pytest", cwd=tmp_path)
    checked(python, tmp_path)
    shutil.copytree(ROOT / "plugins" / "example" / "tests", tmp_path / "tests")
    assert " passed" in run(python, "-m", "pytest", "-q", "tests", cwd=tmp_path)
