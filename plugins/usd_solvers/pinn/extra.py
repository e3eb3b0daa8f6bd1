"""Optional packages that solvers take their method from."""

from __future__ import annotations

from importlib.util import find_spec


def missing(package: str) -> str | None:
    """None, or the reason why a solver that needs the package cannot run."""
    if find_spec(package) is not None:
        return None
    return f"it needs the package {package.replace('_', '-')}: pip install 'usd-bench[baselines]'"
