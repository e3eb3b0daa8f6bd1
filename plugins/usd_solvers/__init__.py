"""The solvers of usd-bench: one method per file."""
