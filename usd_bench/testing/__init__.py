"""A suite of tests for authors of plugins: does a problem or a solver keep its contract?

    # tests/test_conformance.py of a plugin
    from usd_bench.testing import solver_conformance

    TestMySolver = solver_conformance("my_solver")

pytest then runs a test for every point of the contract. The plugin is installed (``pip install -e .``), or lies in a
folder that is given.
"""

from usd_bench.testing.problems import ProblemConformance, problem_conformance
from usd_bench.testing.solvers import SolverConformance, solver_conformance

__all__ = ["ProblemConformance", "SolverConformance", "problem_conformance", "solver_conformance"]
