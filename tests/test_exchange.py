"""Stores that travel: pushed, pulled, submitted, and held to what they were."""

from __future__ import annotations

import http.server
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import Cli, one_line_error, program
from usd_bench.reproducibility import digest
from usd_bench.store.exchange import MANIFEST
from usd_bench.store.reader import read
from usd_bench.store.submission import NAME


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three real runs."""
    folder = tmp_path_factory.mktemp("made")
    command = ("run", "-p", "burgers", "-s", "adam", "--seeds", "3", "--max-iter", "2", "--threads", "1", "-q")
    assert program(folder, *command).returncode == 0
    return folder / "results"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The folder, over http."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The variables that lead a program to an S3 server of this machine, without a bucket."""
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-p", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        started = next(line for line in server.stderr if "Running on" in line)
        threading.Thread(target=server.stderr.read, daemon=True).start()  # so that it never waits for a reader
        yield {
            "AWS_ENDPOINT_URL": started.split()[-1],
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        server.terminate()


def rows(out: Path) -> list[dict[str, Any]]:
    found, warnings = read(out, "runs")
    assert not warnings
    return sorted(found, key=lambda row: row["run_id"])


def ok(cli: Cli, *arguments: str) -> str:
    done = cli("results", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- push and pull ----------------------------------------------------------------------------------------------------


def test_what_is_pushed_is_pulled_with_artifacts_and_each_run_once(cli: Cli, store: Path, tmp_path: Path) -> None:
    assert "0 were there" in ok(cli, "push", "results", f"file://{tmp_path}/there", "-q")
    assert "3 runs added to here" in ok(cli, "pull", f"file://{tmp_path}/there", "--out", "here")
    here = tmp_path / "here"
    assert rows(here) == rows(store)
    for path in (p for p in store.rglob("*") if p.is_file()):
        assert (here / path.relative_to(store)).read_bytes() == path.read_bytes()
    assert not list(here.glob(".pull-*"))
    assert "0 runs added to here, 3 were there" in ok(cli, "pull", f"file://{tmp_path}/there", "--out", "here")


def test_a_store_is_pulled_from_a_web_server(cli: Cli, store: Path, tmp_path: Path, served: str) -> None:
    ok(cli, "push", "results", "there", "--no-artifacts")
    done = program(tmp_path, "results", "pull", f"{served}/there", "--out", "here")
    assert "3 runs added to here" in done.stdout, done.stderr
    assert rows(tmp_path / "here") == rows(store)
    missing = program(tmp_path, "results", "pull", f"{served}/nowhere", "--out", "here")
    assert f"it has no {MANIFEST}" in one_line_error(missing)


def test_a_store_travels_through_s3(store: Path, tmp_path: Path, s3: dict[str, str]) -> None:
    def results(*arguments: str, **other: str) -> subprocess.CompletedProcess[str]:
        return program(tmp_path, "results", *arguments, env=s3 | other)

    assert f"no store at s3://bucket/results: it has no {MANIFEST}" in one_line_error(
        results("pull", "s3://bucket/results", "--out", "here")
    )
    sent = len([path for path in store.rglob("*") if path.is_file()])
    assert results("push", "results", "s3://bucket/results").stdout.startswith(f"{sent} files sent")
    assert results("push", "results", "s3://bucket/results").stdout.endswith(f"{sent} were there\n")
    assert "3 runs added" in results("pull", "s3://bucket/results", "--out", "here").stdout
    for path in (p for p in store.rglob("*") if p.is_file()):
        assert (tmp_path / "here" / path.relative_to(store)).read_bytes() == path.read_bytes()
    closed = results("pull", "s3://bucket/results", "--out", "no", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert "cannot be read" in one_line_error(closed)


def test_artifacts_that_are_missing_here_are_fetched_later(cli: Cli, store: Path, tmp_path: Path) -> None:
    ok(cli, "push", "results", "there")
    ok(cli, "pull", "there", "--out", "here", "--no-artifacts")
    assert "0 runs added to here, 3 were there" in ok(cli, "pull", "there", "--out", "here")
    for path in (p for p in (store / "artifacts").rglob("*") if p.is_file()):
        assert (tmp_path / "here" / path.relative_to(store)).read_bytes() == path.read_bytes()


def test_a_push_that_was_cut_off_goes_on(
    cli: Cli, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usd_bench.store.exchange.MANIFEST_EVERY", 0.0)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "runs").write_text("in the way")
    assert "cannot be written" in one_line_error(cli("results", "push", "results", "there"))
    (tmp_path / "there" / "runs").unlink()
    assert "0 runs added" in ok(cli, "pull", "there", "--out", "before")  # for rows come last
    assert "3 files sent to there" in ok(cli, "push", "results", "there")
    assert "0 files sent to there" in ok(cli, "push", "results", "there")
    assert "3 runs added" in ok(cli, "pull", "there", "--out", "here")


def test_what_was_lost_where_it_was_pushed_is_sent_again_or_named(cli: Cli, store: Path, tmp_path: Path) -> None:
    ok(cli, "push", "results", "there")
    lost = sorted((tmp_path / "there" / "trace").iterdir())
    lost[0].unlink()
    assert "1 files sent to there" in ok(cli, "push", "results", "there")
    lost[1].unlink()
    (store / "trace" / lost[1].name).unlink()
    done = cli("results", "push", "results", "there")
    assert done.stderr == f"Warning: trace/{lost[1].name} was lost at there; its manifest no longer names it\n"
    done = cli("results", "pull", "there", "--out", "here")
    assert done.stderr == f"Warning: there has no trace of run {lost[1].stem}\n"
    assert "3 runs added" in done.stdout


def test_only_the_files_of_a_store_travel(cli: Cli, store: Path, tmp_path: Path) -> None:
    (store / "runs" / "notes.txt").write_text("hello")
    (store / "runs" / "_damaged-0.parquet").write_text("hello")
    ok(cli, "push", "results", "there")
    assert {path.suffix for path in (tmp_path / "there" / "runs").iterdir()} == {".parquet"}
    assert len(list((tmp_path / "there" / "runs").iterdir())) == 3


def test_a_run_that_is_here_keeps_its_files_and_says_so(cli: Cli, store: Path, tmp_path: Path) -> None:
    ok(cli, "push", "results", "there")
    ok(cli, "pull", "there", "--out", "here")
    changed, gone = sorted((tmp_path / "here" / "artifacts").glob("*/profile.safetensors"))[:2]
    changed.write_bytes(b"mine")
    gone.unlink()
    done = cli("results", "pull", "there", "--out", "here")
    name = changed.relative_to(tmp_path / "here").as_posix()
    assert done.stderr == f"Warning: there has another {name}; the one in here is kept\n"
    assert changed.read_bytes() == b"mine"
    assert gone.read_bytes() == (store / gone.relative_to(tmp_path / "here")).read_bytes()


def test_two_stores_pushed_to_one_place_are_pulled_as_one(cli: Cli, store: Path, tmp_path: Path) -> None:
    whole = rows(store)
    for name, row in zip(("a", "b"), whole, strict=False):
        for kind in ("runs", "trace"):
            (tmp_path / name / kind).mkdir(parents=True)
            shutil.copy(store / kind / f"{row['run_id']}.parquet", tmp_path / name / kind)
        shutil.copytree(store / "env", tmp_path / name / "env")
        ok(cli, "push", name, "there")
    assert "2 runs added" in ok(cli, "pull", "there", "--out", "here")
    assert rows(tmp_path / "here") == whole[:2]


def test_another_content_under_a_name_is_replaced_only_when_asked(cli: Cli, store: Path, tmp_path: Path) -> None:
    ok(cli, "push", "results", "there")
    path = next((store / "runs").iterdir())
    table = pq.read_table(path)
    at = table.schema.names.index("reason")
    pq.write_table(table.set_column(at, table.schema.field(at), [["repeated"]]), path)
    assert f"has another runs/{path.name}" in one_line_error(cli("results", "push", "results", "there"))
    ok(cli, "push", "results", "there", "--overwrite")
    ok(cli, "pull", "there", "--out", "here")
    assert "repeated" in {row["reason"] for row in rows(tmp_path / "here")}


NAMES = {
    "outside": "../../stolen",
    "outside later": "runs/../../stolen",
    "on Windows": "runs\\..\\..\\stolen",
    "elsewhere": "notes/a",
    "nul": "runs/\0",
    "folder": "runs",
}
"""Names that no file of a store has."""


@pytest.mark.parametrize("harm", ["changed", "gone", "digest", "version", "no json", *NAMES])
def test_what_is_not_as_its_manifest_says_adds_nothing(harm: str, cli: Cli, store: Path, tmp_path: Path) -> None:
    ok(cli, "push", "results", "there")
    there = tmp_path / "there"
    path, manifest = next((there / "trace").iterdir()), json.loads((there / MANIFEST).read_text())
    if harm == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    elif harm == "gone":
        path.unlink()
    elif harm in NAMES:
        manifest["files"][NAMES[harm]] = "0"
    elif harm == "version":
        manifest["format"] = 2
    elif harm == "digest":
        manifest["files"][f"trace/{path.name}"] = [1]
    (there / MANIFEST).write_text("{" if harm == "no json" else json.dumps(manifest))
    line = one_line_error(cli("results", "pull", "there", "--out", "here"))
    expected = {
        "changed": "is not the file of its manifest; nothing was added",
        "gone": f"trace/{path.name} at there cannot be read",
        "digest": "is not the file of its manifest; nothing was added",
        "version": "reads format 1",
        "no json": "cannot be read as JSON",
    }
    assert expected.get(harm, "which is no file of a store") in line
    assert not (tmp_path / "here").exists()


def test_urls_that_cannot_be_used_say_what_is_missing(
    cli: Cli, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Protocol not known: nothing" in one_line_error(cli("results", "push", "results", "nothing://x"))
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    assert "gcsfs" in one_line_error(cli("results", "pull", "gs://bucket/x"))
    assert "is no store: it has no runs/" in one_line_error(cli("results", "push", "elsewhere", "there"))
    assert "the URL is empty" in one_line_error(cli("results", "push", "results", " "))
    assert "in the store itself" in one_line_error(cli("results", "push", "results", f"file://{store}/more"))
    assert "cannot be reached: " in one_line_error(cli("results", "pull", "ftp://host.invalid/x"))
    (tmp_path / "file").write_text("")
    assert "file/inside cannot be read: NotADirectoryError" in one_line_error(
        cli("results", "push", "results", "file/inside")
    )
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "env").write_text("in the way")
    assert "cannot be written to there" in one_line_error(cli("results", "push", "results", "there"))
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert "usd-bench[exchange]" in one_line_error(cli("results", "pull", "there"))


def test_a_packed_store_travels_too(cli: Cli, store: Path, tmp_path: Path) -> None:
    before = rows(store)
    assert cli("merge", "results", "--out", "packed", "--no-artifacts", "--pack").returncode == 0
    ok(cli, "push", "packed", "there")
    assert "3 runs added" in ok(cli, "pull", "there", "--out", "here")
    assert rows(tmp_path / "here") == before
    ok(cli, "push", "results", "unpacked")
    assert "0 runs added" in ok(cli, "pull", "unpacked", "--out", "packed")
    assert not list((tmp_path / "packed" / "runs").glob("[!p]*"))
    for path in (p for p in (store / "artifacts").rglob("*") if p.is_file()):
        assert (tmp_path / "packed" / path.relative_to(store)).read_bytes() == path.read_bytes()


# -- submissions ------------------------------------------------------------------------------------------------------

SUBMIT = (
    "submission",
    "results",
    "--into",
    "published/mine",
    "--how",
    "run -p burgers -s adam",
    "--beside",
    "a browser",
)


@pytest.fixture
def submitted(cli: Cli, store: Path, tmp_path: Path) -> Path:
    ok(cli, *SUBMIT, "--contact", "me@example.org")
    return tmp_path / "published" / "mine"


def test_a_submission_is_the_store_packed_with_what_is_said_of_it(cli: Cli, store: Path, submitted: Path) -> None:
    said = json.loads((submitted / NAME).read_text(encoding="utf-8"))
    assert rows(submitted) == rows(store)
    assert (said["runs"], said["statuses"]) == (3, {"budget": 3})
    assert (said["how"], said["beside"], said["contact"]) == ("run -p burgers -s adam", "a browser", "me@example.org")
    assert list(said["machines"]) == [path.stem for path in (store / "env").iterdir()]
    assert {"usd_bench", "usd_problems", "usd_solvers"} <= set(said["code"])
    assert not (submitted / "artifacts").exists()
    shown = ok(cli, "check", "published/mine")
    assert "3 runs: 3 budget" in shown
    assert said["signature"] in shown
    assert cli("validate", "published").returncode == 0


@pytest.mark.parametrize("harm", ["file", "more", "less", "words", "statuses", "machine", "signed again"])
def test_a_submission_that_was_changed_is_a_fault(harm: str, cli: Cli, submitted: Path) -> None:
    path = submitted / NAME
    said = json.loads(path.read_text(encoding="utf-8"))
    trace = next((submitted / "trace").iterdir())
    if harm == "file":
        trace.write_bytes(trace.read_bytes() + b" ")
    elif harm == "more":
        (submitted / "runs" / "note.txt").write_text("hello")
    elif harm == "less":
        trace.unlink()
    elif harm == "words":
        said["beside"] = "nothing"
    elif harm == "machine":
        next(iter(said["machines"].values()))["cores"] = "64"
    else:
        said["statuses"] = {"converged": 3}
    if harm == "signed again":
        said["signature"] = digest({name: value for name, value in said.items() if name != "signature"})
    path.write_text(json.dumps(said), encoding="utf-8")
    done = cli("results", "check", "published/mine")
    assert done.returncode == 1
    expected = {"file": "is not the file", "more": "is not the file", "less": "is not the file"}
    expected["signed again"] = "statuses are {'budget': 3}, not {'converged': 3}"
    assert expected.get(harm, "is not what was signed") in done.stdout


@pytest.mark.parametrize("harm", ["trace gone", "row damaged", "impossible", "empty"])
def test_a_store_with_a_fault_is_not_submitted(harm: str, cli: Cli, store: Path, tmp_path: Path) -> None:
    run, trace = (next((store / kind).iterdir()) for kind in ("runs", "trace"))
    if harm == "trace gone":
        trace.unlink()
    elif harm == "row damaged":
        run.write_bytes(b"no")
    elif harm == "impossible":
        table = pq.read_table(run)
        at = table.schema.names.index("iterations")
        pq.write_table(table.set_column(at, table.schema.field(at), [[-1]]), run)
    else:
        shutil.rmtree(store / "runs")
        (store / "runs").mkdir()
    line = one_line_error(cli("results", *SUBMIT))
    assert "has no runs to submit" in line if harm == "empty" else line.endswith("see usd-bench validate results")
    assert not list((tmp_path / "published").iterdir())


def test_bad_input_is_one_line(cli: Cli, submitted: Path, tmp_path: Path) -> None:
    assert "with something in it" in one_line_error(cli("results", *SUBMIT))
    (tmp_path / "empty").mkdir()
    assert f"has no {NAME}" in one_line_error(cli("results", "check", "empty"))


def test_the_commands_of_the_page_do_what_it_says(cli: Cli, store: Path, tmp_path: Path, served: str) -> None:
    page = (Path(__file__).parent.parent / "docs" / "store.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    usd-bench results (.*)$", page, re.M)
    assert [shlex.split(line)[0] for line in lines] == ["push", "pull", "submission", "check"]
    for line in lines:
        here = line.replace("s3://bucket/results", f"file://{tmp_path}/bucket").replace("https://host", served)
        ok(cli, *shlex.split(here.replace(f"{served}/results", f"{served}/bucket")))


def test_every_published_submission_is_what_was_signed(cli: Cli) -> None:
    published = Path(__file__).parent.parent / "results" / "published"
    submissions = sorted(path.parent for path in published.rglob(NAME))
    assert {"accuracy", "standard"} <= {folder.name for folder in submissions}
    for folder in submissions:
        ok(cli, "check", str(folder))
    stores = sorted(path.parent for path in published.rglob("runs"))
    assert stores == submissions
