"""The contract of a solver, point by point."""

from usd_bench.testing import solver_conformance

TestBarzilaiBorwein = solver_conformance("barzilai_borwein")
