"""The range of a number, declared beside its field: `steps: Count = 40`, `k: Annotated[int, Range(2, 9)] = 6`."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, cast, get_type_hints

from accord.errors import UsageError


@dataclass(frozen=True)
class Range:
    """The values that a number may have: all finite numbers within these bounds."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    why: str = ""
    """The error's explanation in place of the bound. A negative number where none is allowed gets the standard message."""

    def problem(self, value: float) -> str:
        """Return what is wrong with a value, to stand after "steps is 0" in an error; empty when the value is in the range."""
        if not math.isfinite(value):
            return ", which is no number to work with"
        if self.least <= value <= self.most and self.above < value < self.below:
            return ""
        if value < 0 <= self.above:
            return f"; it must be above {self.above:g}"
        if value < 0 <= self.least:
            return "; it must not be negative"
        if self.why:
            return f"; {self.why}"
        if value < self.least:
            return f"; {self.least:g} at least"
        if value <= self.above:
            return f"; it must be above {self.above:g}"
        return f"; it is at most {self.most:g}" if value > self.most else f"; it must be below {self.below:g}"


Natural = Annotated[int, Range(least=0)]
"""0, 1, 2 ..."""
Count = Annotated[int, Range(above=0)]
"""1, 2, 3 ..."""
NonNegative = Annotated[float, Range(least=0)]
Positive = Annotated[float, Range(above=0)]
Signed = Annotated[float, Range()]
"""Any finite number."""
Share = Annotated[float, Range(least=0, most=1)]
Port = Annotated[int, Range(least=0, most=65_535, why="65535 at most")]
RankedResponses = Annotated[int, Range(least=2, most=9, why="a ranking takes 2 to 9 responses")]


@cache
def ranges(kind: type[Any]) -> dict[str, Range]:
    """Return the range of each field of a dataclass that has one, including the fields of its mixins."""
    found: dict[str, Range] = {}
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        for extra in getattr(hints[field.name], "__metadata__", ()):
            if isinstance(extra, Range):
                found[field.name] = extra
    return found


def require(condition: bool, stage: str, message: str) -> None:
    """Raise UsageError with the stage's name and the message unless the condition holds."""
    if not condition:
        raise UsageError(message, where=stage)


def check_numbers(config: Any, stage: str) -> None:
    """Check every number of a stage against the range beside its field.

    Raises:
        UsageError: a number is out of range; the message names the stage, the setting and its value.
    """
    for name, allowed in ranges(cast("type[Any]", type(config))).items():
        value: object = getattr(config, name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            problem = allowed.problem(value)
            require(not problem, stage, f"{name} is {value}{problem}")
