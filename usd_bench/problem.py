"""The problem contract: one self-similar profile equation, in coordinates where its solution is smooth and bounded.

A problem states its equation once, pointwise in jets; every solver and the harness use that one statement.
It also states what is known about its answer (targets with sources, exact or stored profiles), and what a
smooth trial function looks like (features, lift). It knows no network, no grid of a method and no file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Checked
from torch import Tensor

from usd_bench.jets import Channels, Jet

if TYPE_CHECKING:
    from usd_bench.profile import Profile


@dataclass(frozen=True)
class Field:
    """An unknown function and the derivatives of it that the equation reads: ``Field("T", "s", "beta")``."""

    name: str
    derivatives: tuple[str, ...]

    def __init__(self, name: str, *derivatives: str) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "derivatives", derivatives)


@dataclass(frozen=True)
class Target:
    """A known value of the scaling exponent. ``digits``: significant decimal digits the source supports."""

    lam: float
    digits: int
    source: str


@dataclass(frozen=True)
class Bracket:
    """Where λ of the chosen branch lies: ``guess`` to start from, ``low`` and ``high`` towards its neighbours.

    ``hold``: whether λ should stay at the guess until the profile has formed. True where near-solutions exist
    for every λ, so that a half-formed profile drags λ to another branch; False where the equation has none away
    from its λ, so that holding it would bend the profile instead.
    """

    low: float
    guess: float
    high: float
    hold: bool


@dataclass(frozen=True)
class Condition:
    """A side condition that singles out one profile: ``error(u, x, lam)`` vanishes at the points ``at``.

    ``kind``: ``normalisation`` fixes the scaling symmetry, ``admissibility`` selects λ, ``wall`` is a boundary
    value. The harness measures the error of every condition, for a field that is zero everywhere solves most
    profile equations. ``at``: (M, d); the result of ``error``: (M,), of order one when the condition fails.
    """

    name: str
    kind: Literal["normalisation", "admissibility", "wall"]
    at: Tensor
    error: Callable[[SimpleNamespace, SimpleNamespace, Tensor], Tensor]


@dataclass(frozen=True)
class Recommended:
    """The size at which a problem is meant to be run when the user does not say: its "laptop size", or more.

    ``points``: collocation points; ``hidden``: layer widths of a network per field (other methods read its
    total as a hint of the trial space's size); ``until``: the metric targets that end a run as ``converged``;
    ``max_time``: solver seconds; ``grid``: points per coordinate of generated data.
    """

    points: int
    hidden: tuple[int, ...]
    until: dict[str, float] = field(default_factory=dict)
    max_time: float = 600.0
    grid: int = 32


class ProblemParameters(BaseModel):
    """The parameters of a problem, as selected by ``name[order=1]``. Unknown names and bad values are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    order: int = Checked(0, ge=0, description="0 for the stable profile, n for the one with n unstable modes")


class Problem(ABC):
    """A self-similar profile equation. Subclasses are one file each and read like the paper's page."""

    coords: ClassVar[tuple[str, ...]]
    fields: ClassVar[tuple[Field, ...]]
    equations: ClassVar[tuple[str, ...]]
    recommended: ClassVar[Recommended]
    Parameters: ClassVar[type[ProblemParameters]] = ProblemParameters

    def __init__(self, **parameters: Any) -> None:
        """Raises ``pydantic.ValidationError`` for an unknown parameter or a value out of range."""
        self.parameters = self.Parameters(**parameters)

    @property
    def order(self) -> int:
        return self.parameters.order

    # -- the equation -------------------------------------------------------------------------------------

    @abstractmethod
    def residual(self, u: SimpleNamespace, x: SimpleNamespace, lam: Tensor) -> dict[str, Tensor]:
        """The equation, pointwise: ``{equation: (N,)}`` from jets ``u.T, u.T_s, ...`` and coordinates ``x.s``.

        Differentiable in the jets and in ``lam`` (0-d). This is the only definition of the equation.
        """

    @abstractmethod
    def scale(self, x: SimpleNamespace, lam: Tensor) -> dict[str, Tensor]:
        """The envelope (N,) of each equation's terms, so that near field and far field count alike."""

    @abstractmethod
    def conditions(self) -> tuple[Condition, ...]:
        """Normalisation, admissibility and wall values."""

    # -- smooth trial functions -------------------------------------------------------------------------------

    @abstractmethod
    def features(self, x: SimpleNamespace, lam: Tensor) -> tuple[Any, ...]:
        """Bounded analytic functions of the coordinates that resolve origin and far field, each in [-1, 1].

        Written with methods that tensors and jets share, so ``x`` may hold either.
        """

    @abstractmethod
    def lift(self, raw: dict[str, Any], x: SimpleNamespace, lam: Tensor) -> dict[str, Any]:
        """Fields from raw trial functions: parity, wall values, decay and normalisation built in.

        ``raw[f]`` vanishes at ``pins[f]``: what a trial function must not change is stated there.
        """

    @property
    @abstractmethod
    def pins(self) -> dict[str, tuple[float, ...]]:
        """For each field, the point where its raw trial function is pinned to zero."""

    # -- points ------------------------------------------------------------------------------------------------

    @abstractmethod
    def collocation(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` random points (n, d) for solvers, dense where the profile varies."""

    @abstractmethod
    def evaluation(self) -> Tensor:
        """The harness's own held-out points (M, d). Solvers are never given them."""

    @abstractmethod
    def grid(self, n: int) -> tuple[Tensor, ...]:
        """One axis of ``n`` points per coordinate, for generated data and for plots."""

    # -- what is known ---------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def target(self) -> Target | None:
        """The known λ of this order with its source, or None where nothing is published."""

    @property
    @abstractmethod
    def bracket(self) -> Bracket:
        """Where to start λ and how far it may go before the profile has formed."""

    def reference(self) -> Profile | None:
        """The exact or stored profile in this problem's normalisation, or None."""
        return None

    # -- shared by every subclass ------------------------------------------------------------------------------

    @cached_property
    def channels(self) -> dict[str, Channels]:
        """The jet channels of each field."""
        return {f.name: Channels.of(self.coords, f.derivatives) for f in self.fields}

    @cached_property
    def all_channels(self) -> Channels:
        """The smallest set of channels that serves every field."""
        return Channels.of(self.coords, [name for f in self.fields for name in f.derivatives])

    def points(self, x: Tensor) -> SimpleNamespace:
        """The coordinates of ``x`` (N, d) under their names."""
        return SimpleNamespace(**{name: x[:, axis] for axis, name in enumerate(self.coords)})

    def scaled_residual(self, u: SimpleNamespace, x: SimpleNamespace, lam: Tensor) -> Tensor:
        """Residual over envelope, (equations, N): what solvers minimise and the harness reports."""
        raw, scale = self.residual(u, x, lam), self.scale(x, lam)
        return torch.stack([raw[name] / scale[name] for name in self.equations])

    def starting_fields(self, x: Tensor, lam: Tensor) -> dict[str, Tensor]:
        """The fields of the zero trial function: every wall value, parity and normalisation holds. x: (N, d)."""
        points = self.points(x)
        zero = {f.name: torch.zeros_like(x[:, 0]) for f in self.fields}
        lifted: dict[str, Tensor] = self.lift(zero, points, lam)
        return lifted

    def feature_jet(self, x: Tensor, lam: Tensor, channels: Channels) -> Tensor:
        """The features as one tensor (channels, N, features)."""
        points = Jet.coordinates(x, channels)
        return torch.stack([f.data for f in self.features(points, lam)], dim=-1)


def axis(low: float, high: float, n: int) -> Tensor:
    """``n`` equally spaced points in double precision, whatever torch's default type is."""
    return torch.linspace(low, high, n, dtype=torch.float64)
