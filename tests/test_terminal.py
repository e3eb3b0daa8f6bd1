"""Output as it looks on a real terminal of 80 columns, and in a pipe."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import program

COLUMNS = 80


def plain(text: str) -> str:
    """Without escape sequences: bold titles have them, and NO_COLOR lets them be."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def on_a_terminal(folder: Path, *arguments: str, colour: bool = False) -> str:
    """What a command prints on a pseudo-terminal."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "NO_COLOR": "1"}
    if colour:
        del environment["NO_COLOR"]
    command = [sys.executable, "-m", "usd_bench", *arguments]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=side, stdout=side, stderr=side)
    os.close(side)
    parts = []
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # how Linux says that the other side has closed
            break
        if not part:
            break
        parts.append(part)
    os.close(main)
    assert process.wait(timeout=60) == 0
    return b"".join(parts).decode().replace("\r\n", "\n")


def piped(folder: Path, *arguments: str, **environment: str) -> str:
    """What a command prints into a pipe."""
    done = program(folder, *arguments, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store of two short runs."""
    folder = tmp_path_factory.mktemp("terminal")
    piped(folder, "run", "-q", "-p", "burgers", "-s", "adam,gauss_newton", "--max-iter", "2", "--threads", "1")
    return folder


def first_run(store: Path) -> dict[str, Any]:
    run: dict[str, Any] = json.loads(piped(store, "list", "runs", "--json"))[0]
    return run


def test_tables_keep_to_eighty_columns_and_lose_no_row(store: Path) -> None:
    for arguments in (("list", "runs"), ("list", "targets", "-p", "burgers"), ("list", "problems")):
        lines = plain(on_a_terminal(store, *arguments)).splitlines()
        assert max(map(len, lines)) <= COLUMNS, arguments
        assert len(lines) > 1
    runs = on_a_terminal(store, "list", "runs")
    assert ("adam" in runs, "gauss_newton" in runs) == (True, True)


def test_a_run_is_shown_whole_in_eighty_columns(store: Path) -> None:
    run = first_run(store)
    text = plain(on_a_terminal(store, "show", run["run_id"]))
    table = text[: text.index("\npicture")].splitlines()
    assert max(map(len, table)) <= COLUMNS
    values = "".join(line[table[0].index("value") :] for line in table)
    for value in (run["config"], run["code"], run["run_id"]):
        assert value.replace(" ", "") in values.replace(" ", "")


def test_colour_is_for_terminals_that_want_it(store: Path) -> None:
    escape = "\x1b["
    assert escape in on_a_terminal(store, "list", "runs", colour=True)
    assert f"{escape}3" not in on_a_terminal(store, "list", "runs")
    assert escape not in piped(store, "list", "runs", NO_COLOR="")


def test_a_pipe_gets_one_whole_line_for_each_row(store: Path) -> None:
    run = first_run(store)
    lines = piped(store, "show", run["run_id"]).splitlines()
    assert f"config{' ' * 10}{run['config']}" in lines


def test_a_reader_that_leaves_early_gets_no_traceback(store: Path) -> None:
    command = f"'{sys.executable}' -m usd_bench list solvers | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=store, capture_output=True, text=True)
    assert done.stdout.startswith("name")
    assert "Traceback" not in done.stderr
