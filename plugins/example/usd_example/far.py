"""A metric: the residual in the far field, where methods that live near the origin are weak."""

from usd_bench.metrics import Measurement, Metric


def far_residual(measurement: Measurement) -> float:
    """The largest scaled residual at points whose first coordinate lies in the upper half of the held-out range."""
    s = measurement.points[:, 0]
    far = s >= (s.min() + s.max()) / 2
    return float(measurement.scaled[:, far].abs().max())


RES_FAR = Metric("res_far", "lower", far_residual)
