"""The solver contract: data in, data out. The harness owns the loop, the clock, the budget and the kill.

A solver is three functions of a problem, ``init``, ``step`` and ``profile``, and a State that is data: it
round-trips through a checkpoint, and a resumed run continues bit for bit. What a solver thinks of its own
accuracy is never asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self, get_type_hints

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from usd_bench.errors import CheckpointError
from usd_bench.problem import Problem
from usd_bench.profile import Profile


class SolverConfig(BaseModel):
    """The settings of a solver, as selected by ``solver[setting=value]``. Unknown names and bad values are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass
class Counters:
    """Work done so far, in units that do not depend on the machine. The solver counts its own calls."""

    residual: int = 0
    jacobian: int = 0
    jvp: int = 0
    vjp: int = 0
    linear_solve: int = 0

    @property
    def evaluations(self) -> int:
        """Of the residual, of its Jacobian, and of products with it: what a budget of work counts."""
        return self.residual + self.jacobian + self.jvp + self.vjp


@dataclass(kw_only=True)
class State:
    """What a solver knows between two steps. Subclasses add fields of type Tensor, dict[str, Tensor], int or float."""

    iteration: int = 0
    counters: Counters = field(default_factory=Counters)

    def to_tensors(self) -> dict[str, Tensor]:
        """Every field as a tensor, bit for bit: the content of a checkpoint."""
        flat: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "counters"}
        flat.update({f"counters.{f.name}": getattr(self.counters, f.name) for f in fields(self.counters)})
        for name in [name for name, value in flat.items() if isinstance(value, dict)]:
            flat.update({f"{name}.{key}": value for key, value in flat.pop(name).items()})
        return {
            name: value.detach().cpu().clone() if isinstance(value, Tensor) else _scalar(value)
            for name, value in flat.items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], device: str) -> Self:
        """The state that ``to_tensors`` wrote. Raises ``CheckpointError`` when the fields differ.

        Tensors named in ``on_cpu`` stay there; the rest go to ``device``.
        """
        types = get_type_hints(cls)
        several = {f.name: f"{f.name}." for f in fields(cls) if types[f.name] == dict[str, Tensor]}
        free = {key for key in tensors if key.startswith(tuple(several.values()))}
        expected = {f.name for f in fields(cls)} - {"counters"} - set(several)
        expected |= {f"counters.{f.name}" for f in fields(Counters)}
        if set(tensors) - free != expected:
            odd = ", ".join(sorted((set(tensors) - free) ^ expected))
            raise CheckpointError(f"the checkpoint's fields differ from those of {cls.__name__}: {odd}")
        values: dict[str, Any] = {}
        for f in fields(cls):
            if f.name == "counters":
                values[f.name] = Counters(**{c.name: int(tensors[f"counters.{c.name}"]) for c in fields(Counters)})
            elif f.name in several:
                start = several[f.name]
                values[f.name] = {key[len(start) :]: tensors[key].to(device) for key in free if key.startswith(start)}
            elif types[f.name] in (int, float):
                values[f.name] = tensors[f.name].item()
            elif types[f.name] is not Tensor:
                raise CheckpointError(f"{cls.__name__}.{f.name} is a {types[f.name]}; a state has tensors and numbers")
            else:
                values[f.name] = tensors[f.name] if f.name in cls.on_cpu else tensors[f.name].to(device)
        return cls(**values)

    on_cpu: ClassVar[frozenset[str]] = frozenset()
    """Names of tensor fields that live on the CPU whatever the device: states of random generators."""


def _scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float64)


class Solver(ABC):
    """A method. Subclasses are one file each; constructed with their checked config."""

    Config: ClassVar[type[SolverConfig]] = SolverConfig
    State: ClassVar[type[State]]
    bibtex: ClassVar[str] = ""
    """What to cite for the method, as BibTeX entries: ``usd-bench cite`` prints them."""
    eval_every: ClassVar[int] = 10
    """Iterations between two measurements, unless the user says otherwise."""

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    def supports(self, problem: Problem) -> str | None:
        """None, or the reason why this pairing cannot run: it becomes a row with status ``unsupported``."""
        return None

    @abstractmethod
    def init(self, problem: Problem, seed: int, device: str) -> Any:
        """The state before the first step. All randomness derives from ``seed``."""

    @abstractmethod
    def step(self, problem: Problem, state: Any) -> Any:
        """One iteration: the state after it, with ``iteration`` one higher."""

    def finished(self, state: Any) -> bool:
        """Whether further steps could only repeat this one; the run then ends short of its budget."""
        return False

    def diagnostics(self, problem: Problem, state: Any) -> Mapping[str, float]:
        """What trackers show beside the measurements: the loss, a damping, a step's length. Stored in no row."""
        return {}

    @abstractmethod
    def profile(self, problem: Problem, state: Any) -> Profile:
        """The profile that the state stands for."""

    @abstractmethod
    def restore(self, problem: Problem, lam: float, tensors: Mapping[str, Tensor]) -> Profile:
        """A profile from what its ``tensors()`` gave, read back from a file."""
