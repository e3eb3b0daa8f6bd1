"""Rows shared among processes, by real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import distributed_steps

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict:
    path = tmp_path_factory.mktemp("distributed") / "result.pt"
    program = Path(distributed_steps.__file__)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*TORCHRUN, program, path], check=True, timeout=300, env=environment, capture_output=True)
    return torch.load(path)


@pytest.fixture(scope="module")
def alone() -> dict[str, torch.Tensor]:
    return distributed_steps.steps()


@pytest.mark.parametrize("setting", distributed_steps.SETTINGS)
def test_two_processes_take_the_steps_of_one_to_rounding(shared: dict, alone: dict, setting: str) -> None:
    assert shared["processes"] == 2
    found, expected = shared["steps"][setting], alone[setting]
    # Random features of later stages are nearly dependent: their parameters lose digits that their sum does not.
    bound = 1e-5 if setting == "stages" else 1e-9
    assert (found - expected).abs().max().item() <= bound * expected.abs().max().item()


def test_what_needs_all_rows_in_one_process_is_refused_with_the_reason(shared: dict) -> None:
    by_qr, nonlocal_terms = shared["refusals"]
    assert "semi_normal is as accurate" in by_qr
    assert "nonlocal terms" in nonlocal_terms
