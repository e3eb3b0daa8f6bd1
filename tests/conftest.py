"""One thread per test process: tests run side by side, and spinning threads on shared cores crawl."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_WAIT_POLICY="passive", NO_COLOR="1")

import click
import pytest
import torch
from hypothesis import settings

from usd_bench.cli import main
from usd_bench.reproducibility import code_digest

torch.set_num_threads(1)
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

PLUGINS = Path(__file__).parent / "plugins"

OF_THE_HOUR = ("time_setup_s", "time_solve_s", "time_eval_s", "peak_rss_mib", "started_at", "contended")
"""Columns that tell of the machine and its load: the same run may differ in them from one hour to the next."""

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """``usd-bench`` in an empty folder: ``cli("run", ...)``. Its runs are processes of their own, as always.

    The command itself runs in this process, which has torch in memory already, unless variables are given that a Python
    reads when it starts.
    """

    def call(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        if any(name.startswith("PYTHON") for name in env or {}):
            return program(tmp_path, *arguments, env=env)
        return called_here(tmp_path, main.cli, "usd-bench", *arguments, env=env)

    return call


def called_here(
    folder: Path, command: click.Command, name: str, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What a program prints and returns, called in this process, in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for variable, value in (env or {}).items():
            patch.setenv(variable, value)
        patch.setattr(main, "_loaded", None)
        code_digest.cache_clear()  # the same name may be another file
        said, complained = io.StringIO(), io.StringIO()
        deterministic, modules = torch.are_deterministic_algorithms_enabled(), set(sys.modules)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            try:
                main.called(command, name, list(arguments))
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 0
        torch.use_deterministic_algorithms(deterministic)
        for module in set(sys.modules) - modules:
            if str(getattr(sys.modules[module], "__file__", None)).startswith((str(folder), str(PLUGINS))):
                del sys.modules[module]  # plugins in one file, whose names others may have too
    return subprocess.CompletedProcess([name, *arguments], code, said.getvalue(), complained.getvalue())


def program(
    folder: Path, *arguments: str, env: dict[str, str] | None = None, timeout: float = 200
) -> subprocess.CompletedProcess[str]:
    """The command line as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "usd_bench", *arguments],
        cwd=folder,
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )


@pytest.fixture
def rows(cli: Cli) -> Callable[..., list[dict[str, Any]]]:
    """Run and return the stored rows."""

    def call(*arguments: str, **options: Any) -> list[dict[str, Any]]:
        done = cli("run", "--json", "-q", "--threads", "1", *arguments, **options)
        assert done.stdout, done.stderr
        result: list[dict[str, Any]] = json.loads(done.stdout)
        return result

    return call


def one_line_error(done: subprocess.CompletedProcess[str]) -> str:
    """The single line of an error with exit code 2; anything else fails the test."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Warning:")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("Error: ")
    return lines[0]
