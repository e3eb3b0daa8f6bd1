"""The problem contract: one self-similar profile equation, in coordinates where its solution is smooth and bounded.

A problem states its equation once, pointwise in jets; every solver and the harness use that one statement.
It also states what is known about its answer (targets with sources, exact or stored profiles), and what a
smooth trial function looks like (features, lift). It knows no network, no grid of a method and no file.
"""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Checked
from torch import Tensor

from usd_bench.jets import Channels, Jet, equation_namespace

if TYPE_CHECKING:
    from usd_bench.elements import Elements
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

    bibtex: ClassVar[str] = ""
    """What to cite for the equation and its profiles, as BibTeX entries: ``usd-bench cite`` prints them."""
    coords: ClassVar[tuple[str, ...]]
    fields: ClassVar[tuple[Field, ...]]
    equations: ClassVar[tuple[str, ...]]
    evolution: ClassVar[dict[str, str]] = {}
    """Which equation evolves which field in the rescaled dynamics, field_τ + equation = 0: what stability is about."""
    time_power: ClassVar[dict[str, int]] = {}
    """The power of c by which each evolved field is multiplied where time runs c times as fast: 1 for a vorticity."""
    recommended: ClassVar[Recommended]
    Parameters: ClassVar[type[ProblemParameters]] = ProblemParameters
    continuous: ClassVar[tuple[str, ...]] = ()
    """Attributes that continuation may vary: floats, or 0-d tensors after ``vary``; parameters among them by name."""
    nonlocal_terms: ClassVar[tuple[str, ...]] = ()
    """Names under which the residual reads what ``operators`` make of the ``density``: ``("W", "V")``."""
    enclosed_terms: ClassVar[str] = ""
    """``"module:Class"`` that encloses them in ball arithmetic, without torch: what a certificate needs."""

    def __init__(self, **parameters: Any) -> None:
        """Raises ``pydantic.ValidationError`` for an unknown parameter or a value out of range."""
        self.parameters = self.Parameters(**parameters)
        for name in set(self.continuous) & set(type(self.parameters).model_fields):
            setattr(self, name, getattr(self.parameters, name))

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

    def density(self, u: SimpleNamespace, x: SimpleNamespace) -> Tensor:
        """The function (N,) on which the nonlocal terms depend, pointwise in the field values."""
        raise NotImplementedError(f"{type(self).__name__} has no nonlocal terms")

    def operators(self, panels: Elements, nodes: int, at: Tensor) -> dict[str, Tensor]:
        """For each nonlocal term the matrix (len(at), panels · nodes): from the density at the Gauss points of the
        panels to the term at ``at`` (s-coordinates). Exact to rounding for a density resolved by its panels.
        """
        return {}

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

    def size(self, x: SimpleNamespace, lam: Tensor) -> dict[str, Any]:
        """Where a raw function varies by orders of magnitude, its expected size, by field; those left out have 1.

        Written like ``lift``. Networks are multiplied by it, so that their own values are of order one; a polynomial on
        elements needs no help.
        """
        return {}

    @property
    @abstractmethod
    def pins(self) -> dict[str, tuple[float, ...]]:
        """For each field, the point where its raw trial function is pinned to zero."""

    # -- points ------------------------------------------------------------------------------------------------

    @abstractmethod
    def extent(self, lam: float) -> tuple[tuple[float, float], ...]:
        """The range of each coordinate beyond which the fields equal their limits to rounding."""

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

    @property
    def reference_path(self) -> Path:
        """Where the stored profile of these parameters belongs: ``references/`` beside the module of the class."""
        module = Path(inspect.getfile(type(self)))
        values = self.parameters.model_dump(mode="json")
        name = "-".join([module.stem, *(f"{key}={values[key]}" for key in sorted(values))])
        return module.parent / "references" / f"{name}.safetensors"

    @classmethod
    def known(cls) -> list[dict[str, Any]]:
        """The parameters at which something is known: by default every order with a target or a stored profile."""
        highest = (getattr(limit, "le", None) for limit in cls.Parameters.model_fields["order"].metadata)
        orders = range(1 + next((int(n) for n in highest if n is not None), 0))
        candidates = ((order, cls(order=order)) for order in orders)
        return [{"order": n} for n, p in candidates if p.target is not None or p.reference_path.is_file()]

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

    def vary(self, **values: Tensor | float) -> Self:
        """The same problem with continuous parameters at other values, in which the residual is differentiable."""
        other = copy.copy(self)
        for name, value in values.items():
            setattr(other, name, value)
        return other

    def at_order(self, order: int) -> Self:
        """The same equation, aiming at another of its profiles."""
        other = copy.copy(self)
        other.parameters = self.parameters.model_copy(update={"order": order})
        return other

    def trial(self, raw: dict[str, Tensor], x: Tensor, lam: Tensor) -> SimpleNamespace:
        """The jets ``u`` of the trial function whose raw jets are ``raw[f]`` (channels of f, N), at ``x`` (N, d)."""
        jets = {name: Jet(data, self.channels[name]) for name, data in raw.items()}
        lifted = self.lift(jets, Jet.coordinates(x, self.all_channels), lam)
        return equation_namespace({name: jet.restrict(self.channels[name]) for name, jet in lifted.items()})

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
