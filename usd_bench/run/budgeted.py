"""What a file may say of a run's seed and budget, as suites and the files of single runs share it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from usd_bench.errors import SelectorError
from usd_bench.run.budget import parse_until
from usd_bench.run.plan import Limits


def no_bool(value: Any) -> Any:
    """The value; true and false are no numbers."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


def _until(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return parse_until(value)
        except SelectorError as error:
            raise ValueError(str(error).replace("--until", "until")) from None
    return value


class Budgeted(BaseModel):
    """None: not said."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    seed: int | None = Field(None, ge=0, le=2**62)
    max_iter: int | None = Field(None, ge=0)
    max_work: int | None = Field(None, ge=0)
    max_time: float | None = Field(None, gt=0)
    until: Annotated[dict[str, float] | None, BeforeValidator(_until)] = None
    eval_every: int | None = Field(None, ge=1)

    _numbers = field_validator("seed", "max_iter", "max_work", "max_time", "eval_every", mode="before")(no_bool)

    @property
    def limits(self) -> Limits:
        return Limits(self.max_iter, self.max_work, self.max_time, self.until, self.eval_every)
