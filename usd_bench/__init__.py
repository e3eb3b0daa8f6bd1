"""usd-bench: the reproducible benchmark of solvers for self-similar singularities."""

__version__ = "0.1.0"
