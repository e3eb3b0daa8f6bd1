"""Seeds, determinism, and the record of the environment that goes with every number."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import random
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from usd_bench.registry import Plugin

SOFTWARE = ("usd-bench", "torch", "numpy", "scipy", "pandas", "pyarrow", "pydantic", "safetensors")


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def derive_seed(seed: int, *labels: str) -> int:
    """A 63-bit seed from a user's seed and what it is for, so that equal labels share random numbers."""
    return int(digest([seed, *labels])[:16], 16) >> 1


def worker_environment(threads: int) -> dict[str, str]:
    """Variables that must stand before numerical libraries load: thread counts, and no spinning.

    Spinning OpenMP threads on shared cores were measured 50 times slower than passive ones.
    """
    count = str(threads)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "passive",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }


def set_global_seed(seed: int, deterministic: bool = True) -> None:
    """Seed Python, NumPy and torch; with ``deterministic``, pin torch to repeatable algorithms and no TF32."""
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)  # noqa: NPY002 (for plugins that use the global generator)
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # The same switch as use_deterministic_algorithms, which imports torch's compiler: 1.5 s of every run.
        torch.set_deterministic_debug_mode("error")
        torch.backends.cudnn.benchmark = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, str]:
    """Machine and software, as recorded once per ``env_id``. Imports no torch: versions come from metadata."""
    record = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cores": str(cores()),
        "memory_gib": _memory(),
    }
    for name in SOFTWARE:
        try:
            record[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            record[name] = "not installed"
    return record


@cache
def commit() -> str:
    """The git commit of this checkout, ``+`` when files differ from it, or ``release`` for an installed wheel."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    if git("rev-parse", "--show-toplevel") != str(root):
        return "release"
    changed = git("status", "--porcelain", "--", "usd_bench", "problems", "plugins")
    return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")


@cache
def code_digest(module: str) -> str:
    """SHA-256 over the Python files of the top-level package or file that holds ``module``.

    Part of a run's identity: a result belongs to the code that made it. Finds the files without importing them.
    """
    top = module.partition(".")[0]
    loaded = sys.modules.get(top)
    spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return "unknown"
    origin = Path(spec.origin)
    files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    total = hashlib.sha256()
    for file in files:
        total.update(str(file.relative_to(origin.parent)).encode())
        total.update(file.read_bytes())
    return total.hexdigest()[:16]


def code_identity(plugins: Sequence[Plugin], reference: Path) -> dict[str, str]:
    """Version and digest of the harness and of each plugin that takes part in a run, and of the stored profile that
    errors are taken against, if there is one.
    """
    parts = {"usd_bench": code_digest("usd_bench")}
    for plugin in plugins:
        parts[plugin.module.partition(".")[0]] = f"{plugin.version}:{code_digest(plugin.module)}"
    if reference.is_file():
        parts["reference"] = hashlib.sha256(reference.read_bytes()).hexdigest()[:16]
    return parts


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f}"
    except (AttributeError, ValueError, OSError):
        return "unknown"
