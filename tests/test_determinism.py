"""Equal seeds, equal bits, in one process. Across processes: ``test_run``; after a kill: ``test_checkpoint``."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import numpy
import pytest
import torch

from usd_bench.registry import Registry
from usd_bench.reproducibility import derive_seed, set_global_seed


@pytest.fixture(autouse=True)
def as_before():
    """Other tests in this process keep their own settings."""
    kept = torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()
    yield
    torch.use_deterministic_algorithms(kept[0])
    torch.set_float32_matmul_precision(kept[1])


def drawn() -> list[float]:
    return [random.random(), float(numpy.random.rand()), float(torch.rand(()))]  # noqa: NPY002 (the global generator)


def test_one_seed_makes_every_generator_repeat() -> None:
    set_global_seed(7)
    first = drawn()
    set_global_seed(7)
    assert drawn() == first
    set_global_seed(8)
    assert all(one != other for one, other in zip(drawn(), first, strict=True))


def test_determinism_is_asked_of_torch_unless_it_is_not_wanted() -> None:
    set_global_seed(0)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"
    torch.use_deterministic_algorithms(False)
    set_global_seed(0, deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_workspace_of_cublas_is_set_before_cuda_starts() -> None:
    code = (
        "import os, sys, torch; from usd_bench.reproducibility import set_global_seed; set_global_seed(1);"
        "assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'; assert not torch.cuda.is_initialized();"
        "assert 'torch._inductor' not in sys.modules"  # whose import would be a second and a half of every run
    )
    without = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    subprocess.run([sys.executable, "-c", code], check=True, env=without)


@pytest.mark.parametrize("solver", ["gauss_newton", "adam", "ssbroyden", "random_features", "spectral_newton"])
def test_two_runs_in_one_process_have_the_same_bits(solver: str) -> None:
    registry = Registry.load()
    problem, cls = registry.get("problems", "burgers").load()(), registry.get("solvers", solver).load()
    ends = []
    for _ in range(2):
        seed = derive_seed(3, "burgers")
        set_global_seed(seed)
        method = cls()
        state = method.init(problem, seed, "cpu")
        for _ in range(6):
            state = method.step(problem, state)
        ends.append(state.to_tensors())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
