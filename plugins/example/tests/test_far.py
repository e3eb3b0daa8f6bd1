"""What the metric means."""

from usd_example.far import RES_FAR

from usd_bench.metrics import measure
from usd_bench.registry import Registry
from usd_bench.run.plan import build_problem
from usd_bench.selectors import Selection


def test_the_far_residual_is_one_of_the_residuals_and_no_other_than_in_the_far_half() -> None:
    problem = build_problem(Registry.load(), Selection("burgers", {}))
    measured = measure(problem, problem.reference())
    far = RES_FAR.compute(measured)
    assert 0 <= far <= float(measured.scaled.abs().max())
    near = measured.points[:, 0] < 0
    measured.scaled[:, near & (measured.points[:, 0] < -10)] = 1.0
    assert RES_FAR.compute(measured) == far
