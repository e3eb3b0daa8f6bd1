"""One thread per test process: tests run side by side, and spinning threads on shared cores crawl."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_WAIT_POLICY="passive", NO_COLOR="1")

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

PLUGINS = Path(__file__).parent / "plugins"

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The installed command in a real process, in an empty folder: ``cli("run", ...)``."""

    def call(
        *arguments: str, env: dict[str, str] | None = None, timeout: float = 200
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "usd_bench", *arguments],
            cwd=tmp_path,
            env=os.environ | (env or {}),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )

    return call


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
