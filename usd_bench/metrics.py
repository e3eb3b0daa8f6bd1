"""Measurement: what the harness finds about a profile, on its own points, by its own derivatives.

Nothing here comes from a solver but the profile itself. Derivatives are taken by autograd from the field
values and checked against differences of those values, so a profile cannot vouch for itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from usd_bench.elements import Elements, gauss
from usd_bench.errors import MeasurementError
from usd_bench.jets import Channels, Jet, differentiate, equation_namespace
from usd_bench.problem import Problem
from usd_bench.profile import Profile

CHUNK = 8192
"""Evaluation points differentiated at once: bounds memory."""

PROBES = 16
"""Points at which derivatives are checked against differences."""

SEGMENTS, NODES = 64, 12
"""Pieces of each line along which continuity is measured, and Gauss nodes on each."""

HALVINGS, CLOSED = 8, 1e-13
"""How often a segment with a gap is halved, and the gap, relative to the fields, that is rounding."""

LINES = (0.05, 0.35, 0.65, 0.95)
"""In more than one dimension: where the lines lie, as fractions of the other coordinates' ranges."""


PANEL_NODES, PANELS, REFINEMENTS = 16, 300, 12
"""Of the panels on which nonlocal terms are integrated: Gauss nodes on each, how many at most, and halvings."""

TARGETS = 256
"""Points at which nonlocal terms are evaluated at once: bounds memory."""

ROUNDING = 1e-12
"""Size of a panel's last coefficients, relative to the whole density, that refinement could not lower."""


@dataclass(frozen=True)
class Metric:
    """A number measured from a profile. ``better`` says which direction a target is reached from."""

    name: str
    better: Literal["lower", "higher"]
    compute: Callable[[Measurement], float]

    def reached(self, value: float, target: float) -> bool:
        """Whether ``value`` meets ``target``; never for a value that is not a number."""
        return value <= target if self.better == "lower" else value >= target


@dataclass
class Measurement:
    """Everything measured about one profile of one problem; metrics are read off it."""

    problem: Problem
    profile: Profile
    points: Tensor
    """Where it was measured, (M, d): the held-out points unless others were asked for."""
    lam: float
    """λ as read once: what is measured is what is stored."""
    scaled: Tensor
    """Residual over envelope at the held-out points, (equations, M)."""
    raw: Tensor
    """Residual, (equations, M)."""
    conditions: dict[str, float]
    """Largest error of each side condition, and of continuity."""
    values: dict[str, Tensor] = field(repr=False)
    """Field values at the held-out points, (M,) each."""

    @cached_property
    def errors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """For each field: difference to the reference and the reference, (M,) each; empty without a reference."""
        reference = self.problem.reference()
        if reference is None:
            return {}
        with torch.no_grad():
            known = reference.fields(self.points)
        return {name: (self.values[name] - known[name], known[name]) for name in known}


def measure(problem: Problem, profile: Profile, at: Tensor | None = None) -> Measurement:
    """Measure a profile at the held-out points, or at others (M, d).

    Raises ``MeasurementError`` when its fields cannot be what they claim.
    """
    try:
        value = float(profile.lam)
    except (TypeError, ValueError) as error:
        raise MeasurementError(f"the profile's lam is {profile.lam!r}; expected a number") from error
    lam = torch.tensor(value, dtype=torch.float64)
    _check_derivatives(problem, profile)
    density = Density(problem, profile) if problem.nonlocal_terms else None
    raw, scaled, values = [], [], []
    chosen = problem.evaluation() if at is None else at
    for x in torch.split(chosen, CHUNK):
        jets = _jets(problem, profile, x)
        u, points = equation_namespace(jets), problem.points(x)
        if density is not None:
            vars(u).update(density.terms(x))
        residual, scale = problem.residual(u, points, lam), problem.scale(points, lam)
        for name in problem.equations:
            if residual[name].shape != (len(x),) or scale[name].shape != (len(x),) or bool((scale[name] <= 0).any()):
                raise MeasurementError(f"equation {name!r}: residual and scale must be ({len(x)},), the scale positive")
        raw.append(torch.stack([residual[name] for name in problem.equations]).detach())
        scaled.append(torch.stack([residual[name] / scale[name] for name in problem.equations]).detach())
        values.append({name: jet.value.detach() for name, jet in jets.items()})
    conditions = {}
    for condition in problem.conditions():
        u = equation_namespace(_jets(problem, profile, condition.at))
        if density is not None:
            vars(u).update(density.terms(condition.at))
        violation = condition.error(u, problem.points(condition.at), lam)
        conditions[condition.name] = float(violation.detach().abs().max())
    conditions["fields are continuous"] = _largest_jump(problem, profile)
    return Measurement(
        problem,
        profile,
        chosen,
        value,
        torch.cat(scaled, 1),
        torch.cat(raw, 1),
        conditions,
        {name: torch.cat([v[name] for v in values]) for name in values[0]},
    )


class Density:
    """What a profile's nonlocal terms depend on, on panels fine enough for its own variation.

    Panels are halved until the last Legendre coefficients of the density are rounding, so the terms are exact
    to rounding for a smooth profile, wherever its layers lie, and as good as they can be for a rough one.
    """

    def __init__(self, problem: Problem, profile: Profile) -> None:
        self._problem = problem
        # A λ far from what the problem admits says nothing of where a profile ends.
        bracket, lam = problem.bracket, float(profile.lam)
        lam = min(max(lam, bracket.low), bracket.high) if math.isfinite(lam) else bracket.guess
        low, high = problem.extent(lam)[0]
        panels = Elements(torch.linspace(low, high, 1 + math.ceil((high - low) / 2), dtype=torch.float64))
        local, _ = gauss(PANEL_NODES)
        to_legendre = torch.linalg.inv(
            torch.from_numpy(np.polynomial.legendre.legvander(local.numpy(), PANEL_NODES - 1))
        )
        for _ in range(REFINEMENTS):
            x = panels.points(local).flatten()[:, None]
            with torch.no_grad():
                u = SimpleNamespace(**_fields(problem, profile, x))
                self._values = problem.density(u, problem.points(x))
            tail = (self._values.view(len(panels), -1) @ to_legendre.T)[:, -2:].abs().amax(1)
            rough = tail > ROUNDING * self._values.abs().max()
            self._panels = panels
            if not bool(rough.any()) or len(panels) + int(rough.sum()) > PANELS:
                break
            panels = panels.split(rough)

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """The nonlocal terms (N,) at points (N, d)."""
        parts = [self._problem.operators(self._panels, PANEL_NODES, s) for s in torch.split(x.detach()[:, 0], TARGETS)]
        return {name: torch.cat([p[name] @ self._values for p in parts]) for name in self._problem.nonlocal_terms}


def _jets(problem: Problem, profile: Profile, x: Tensor) -> dict[str, Jet]:
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        values = _fields(problem, profile, x)
        return {name: differentiate(value, x, problem.channels[name]) for name, value in values.items()}


def _fields(problem: Problem, profile: Profile, x: Tensor) -> dict[str, Tensor]:
    values = profile.fields(x)
    expected = [f.name for f in problem.fields]
    if sorted(values) != sorted(expected):
        raise MeasurementError(f"the profile has fields {sorted(values)}; {type(problem).__name__} needs {expected}")
    for name, value in values.items():
        if value.shape != (x.shape[0],):
            raise MeasurementError(
                f"field {name!r} has shape {tuple(value.shape)} at {x.shape[0]} points; expected ({x.shape[0]},)"
            )
    return {name: values[name].to(torch.float64) for name in expected}


def _check_derivatives(problem: Problem, profile: Profile, step: float = 1e-3, tolerance: float = 1e-2) -> None:
    """Compare every derivative that the equation reads with fourth-order differences of the channel below it.

    Generous on accuracy, for profiles may be steep; strict on the point: a detached or dishonest field, whose
    autograd derivatives are zero or made up, is off by its whole derivative.
    """
    every = problem.evaluation()
    x = every[:: max(1, len(every) // PROBES)][:PROBES]
    centre = _jets(problem, profile, x)
    shifted: dict[tuple[int, int], dict[str, Jet]] = {}
    for axis in range(len(problem.coords)):
        for k in (-2, -1, 1, 2):
            moved = x.clone()
            moved[:, axis] += k * step
            shifted[axis, k] = _jets(problem, profile, moved)
    for name, jet in centre.items():
        where = {index: c for c, index in enumerate(jet.channels.indices)}
        for index, channel in where.items():
            if not index:
                continue
            below, axis = where[index[:-1]], index[-1]
            f = {k: shifted[axis, k][name].data[below] for k in (-2, -1, 1, 2)}
            difference = (f[-2] - 8 * f[-1] + 8 * f[1] - f[2]) / (12 * step)
            claimed = jet.data[channel]
            size = torch.maximum(claimed.abs(), difference.abs()).max() + jet.value.abs().max()
            if bool(((claimed - difference).abs() > tolerance * size + 1e-9).any()):
                raise MeasurementError(
                    f"field {name!r}: its derivative {jet.channels.names[channel]!r} by autograd disagrees with "
                    "differences of its values; Profile.fields must be differentiable twice with torch.autograd"
                )


def _largest_jump(problem: Problem, profile: Profile) -> float:
    """The largest gap between a field's change over a segment and the integral of its derivative there.

    Pieces of different solutions have no residual on either side of a jump, and points seldom meet a jump; the
    fundamental theorem of calculus does. Lines run through the box of the held-out points, along every coordinate.
    A segment with a gap is halved: the error of quadrature in a steep layer vanishes, a jump stays.
    """
    every = problem.evaluation()
    low, high = every.min(0).values, every.max(0).values
    gaps = [0.0]
    for axis in range(len(problem.coords)):
        for fraction in LINES if len(problem.coords) > 1 else (0.0,):
            ends = torch.linspace(0, 1, SEGMENTS + 1, dtype=torch.float64)
            left, right = ends[:-1], ends[1:]
            for halving in range(HALVINGS + 1):
                gap, size = _gaps(problem, profile, low, high, axis, fraction, left, right)
                closed = gap <= CLOSED * size
                gaps += (gap if halving == HALVINGS else gap[closed]).tolist()
                if bool(closed.all()):
                    break
                middle = (left + right)[~closed] / 2
                left, right = torch.cat([left[~closed], middle]), torch.cat([middle, right[~closed]])
    return _largest(gaps)


def _gaps(
    problem: Problem,
    profile: Profile,
    low: Tensor,
    high: Tensor,
    axis: int,
    fraction: float,
    left: Tensor,
    right: Tensor,
) -> tuple[Tensor, Tensor]:
    """For segments of a line along ``axis``, given as shares of its length: the largest gap of any field, and the
    largest value of any field on all of them.
    """
    nodes, weights = gauss(NODES)
    half = (right - left) / 2
    inner = (left[:, None] + half[:, None] * (1 + nodes)).flatten()
    along = torch.cat([left, right, inner])
    share = torch.full((len(along), len(problem.coords)), fraction, dtype=torch.float64)
    share[:, axis] = along
    x = (low + (high - low) * share).requires_grad_()
    first = Channels.of(problem.coords, problem.coords)
    n = len(left)
    gaps, sizes = [], []
    with torch.enable_grad():
        for value in _fields(problem, profile, x).values():
            jet = differentiate(value, x, first).data.detach()
            change = jet[0, n : 2 * n] - jet[0, :n]
            slope = jet[1 + axis, 2 * n :].view(n, NODES)
            gaps.append((change - half * (high - low)[axis] * (slope @ weights)).abs())
            sizes.append(jet[0].abs().max())
    return torch.stack(gaps).amax(0), torch.stack(sizes).max()


def compute(metrics: Mapping[str, Metric], measurement: Measurement) -> dict[str, float]:
    """All metrics of a measurement, under the names they are registered by."""
    return {name: float(metric.compute(measurement)) for name, metric in metrics.items()}


# -- the built-in metrics ---------------------------------------------------------------------------------------


def lam_digits(lam: float, reference: float, supported: float) -> float:
    """Correct significant digits of ``lam`` (decimals where the reference is 0), at most as many as the reference
    supports. A wrong λ has 0.
    """
    if not math.isfinite(lam):
        return math.nan
    error = abs(lam - reference) / (abs(reference) or 1.0)
    return supported if error == 0 else min(max(-math.log10(error), 0.0), supported)


def _lam_digits(m: Measurement) -> float:
    target = m.problem.target
    return math.nan if target is None else lam_digits(m.lam, target.lam, target.digits)


def _err_max(m: Measurement) -> float:
    return _largest(_ratio(e.abs().max(), known.abs().max()) for e, known in m.errors.values())


def _err_l2_rel(m: Measurement) -> float:
    return _largest(_ratio(e.norm(), known.norm()) for e, known in m.errors.values())


def _largest(values: Iterable[float]) -> float:
    """The largest; not a number if any of them is not, or if there are none. Python's max would hide it."""
    found = list(values)
    return math.nan if not found or any(math.isnan(v) for v in found) else max(found)


def _ratio(a: Tensor, b: Tensor) -> float:
    return float(a / b)


RES_MAX = Metric("res_max", "lower", lambda m: float(m.scaled.abs().max()))
RES_L2 = Metric("res_l2", "lower", lambda m: float(m.scaled.square().mean().sqrt()))
RES_MEAN = Metric("res_mean", "lower", lambda m: float(m.scaled.abs().mean()))
RAW_MAX = Metric("raw_max", "lower", lambda m: float(m.raw.abs().max()))
RAW_L2 = Metric("raw_l2", "lower", lambda m: float(m.raw.square().mean().sqrt()))
RAW_MEAN = Metric("raw_mean", "lower", lambda m: float(m.raw.abs().mean()))
COND_MAX = Metric("cond_max", "lower", lambda m: _largest(m.conditions.values()))
LAM_DIGITS = Metric("lam_digits", "higher", _lam_digits)
ERR_MAX = Metric("err_max", "lower", _err_max)
ERR_L2_REL = Metric("err_l2_rel", "lower", _err_l2_rel)
