"""Trackers: what they write is read back with their own tools, from real runs."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import PLUGINS, one_line_error

RUN = ("run", "-p", "burgers", "-s", "gauss_newton[hidden=6x5,points=60]", "--max-iter", "20", "--threads", "1", "-q")
ALL = ("--track", "tensorboard,mlflow", "--track", "wandb")
DIAGNOSTICS = ("loss", "damping", "step", "rss_mib")


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder, with a space and an umlaut, in whose store every tracker has followed a run."""
    folder = tmp_path_factory.mktemp("über alles")
    without = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "MLFLOW"))}
    subprocess.run([sys.executable, "-m", "usd_bench", *RUN, *ALL], cwd=folder, env=without, check=True)
    return folder


def artifacts(folder: Path) -> Path:
    (found,) = (folder / "results" / "artifacts").iterdir()
    return found


def measured(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "results" / "trace").set_index("iteration")


def test_no_tracker_was_dropped(followed: Path) -> None:
    assert (artifacts(followed) / "worker.log").read_text() == ""


def test_csv_has_every_evaluation_and_what_the_solver_tells(followed: Path) -> None:
    frame = pd.read_csv(artifacts(followed) / "metrics.csv").set_index("iteration")
    trace = measured(followed)
    assert frame.index.tolist() == trace.index.tolist() == [0, 1, 2, 4, 8, 10, 16, 20]
    for name in ("lam", "res_max", "res_l2", "res_mean", "time_solve_s"):
        assert frame[name].tolist() == trace[name].tolist()
    assert frame[list(DIAGNOSTICS)].notna().all(axis=None)
    assert frame["loss"].iloc[-1] < frame["loss"].iloc[0]
    assert frame["rss_mib"].min() > 50


def test_tensorboard_reads_the_scalars_and_pictures(followed: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(artifacts(followed) / "tb"))
    events.Reload()
    trace = measured(followed)
    for name in ("res_max", "lam", *DIAGNOSTICS):
        assert [event.step for event in events.Scalars(name)] == trace.index.tolist()
    found = [event.value for event in events.Scalars("res_max")]
    assert found == pytest.approx(trace["res_max"].tolist(), rel=1e-6)  # TensorBoard keeps single precision
    pictures = events.Images("fields")
    assert [picture.step for picture in pictures][-1] == 20
    assert pictures[0].encoded_image_string.startswith(b"\x89PNG")


def test_mlflow_finds_the_run_in_the_store(followed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(followed / "results" / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("usd-bench")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "burgers · gauss_newton[hidden=6x5,points=60] · seed 0"
    assert run.data.params["solver"] == "gauss_newton"
    assert run.data.tags["usd_bench.run_id"] == artifacts(followed).name
    history = client.get_metric_history(run.info.run_id, "res_max")
    assert {m.step: m.value for m in history} == measured(followed)["res_max"].to_dict()
    pictures = [item.path for item in client.list_artifacts(run.info.run_id, "fields")]
    assert "fields/00000020.png" in pictures


def wandb_records(content: bytes) -> Iterator[Any]:
    """The records of a W&B file: blocks of 32 KiB with checksum, length and kind before each part of a record."""
    from wandb.proto import wandb_internal_pb2

    at, whole = 7, b""
    while at < len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def test_wandb_keeps_an_offline_run(followed: Path) -> None:
    (path,) = (artifacts(followed) / "wandb").glob("offline-run-*/*.wandb")
    histories, config = [], {}
    for record in wandb_records(path.read_bytes()):
        if record.WhichOneof("record_type") == "history":
            items = {
                (item.key or ".".join(item.nested_key)): json.loads(item.value_json) for item in record.history.item
            }
            histories.append(items)
        elif record.WhichOneof("record_type") == "run":
            config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
    trace = measured(followed)
    assert {h["_step"]: h["res_max"] for h in histories} == trace["res_max"].to_dict()
    assert histories[0]["fields._type"] == "image-file"
    assert (config["problem"], config["seed"]) == ("burgers", 0)


def test_trackers_are_off_unless_asked_for(cli, tmp_path: Path) -> None:
    assert cli(*RUN).returncode == 0
    assert not (tmp_path / "results" / "mlruns").exists()
    names = {path.name for path in artifacts(tmp_path).iterdir()}
    assert names == {"best.ckpt", "config.yaml", "last.ckpt", "metrics.csv", "profile.safetensors", "worker.log"}


def test_following_a_run_changes_none_of_its_bits(cli, followed: Path, tmp_path: Path) -> None:
    cli(*RUN)
    columns = ["lam", "res_max", "res_l2", "n_residual", "cond_max"]
    pd.testing.assert_frame_equal(measured(tmp_path)[columns], measured(followed)[columns], check_exact=True)


def test_a_package_that_is_missing_is_a_warning_in_the_log_and_the_run_goes_on(cli, tmp_path: Path) -> None:
    (tmp_path / "broken" / "wandb").mkdir(parents=True)
    (tmp_path / "broken" / "wandb" / "__init__.py").write_text("raise ImportError('no wandb here')\n")
    done = cli(*RUN, "--track", "wandb", env={"PYTHONPATH": str(tmp_path / "broken")})
    assert done.returncode == 0
    warning = "tracker wandb dropped: no wandb here; it comes with pip install 'usd-bench[tracking]'"
    assert warning in done.stderr
    assert warning in (artifacts(tmp_path) / "worker.log").read_text()


def test_a_profile_that_is_no_number_can_be_followed_too(cli, tmp_path: Path) -> None:
    nan = (
        "run",
        "-p",
        "burgers",
        "-s",
        "notanumber,infinite",
        "--plugins-dir",
        str(PLUGINS),
        "--max-iter",
        "3",
        "-q",
        "--json",
    )
    rows = json.loads(cli(*nan, "--track", "tensorboard,mlflow").stdout)
    assert {row["status"] for row in rows} == {"diverged"}
    for row in rows:
        log = tmp_path / "results" / "artifacts" / row["run_id"] / "worker.log"
        assert "dropped" not in log.read_text()


def test_an_unknown_tracker_is_one_line(cli) -> None:
    assert "unknown tracker 'tensorbord'; did you mean 'tensorboard'" in one_line_error(
        cli(*RUN, "--track", "tensorbord")
    )
