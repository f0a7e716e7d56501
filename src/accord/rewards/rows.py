"""What a reward of texts is given, and what it may answer."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from accord.errors import RunError
from accord.records import Message

ONE = ""
"""The name of the only part of a reward without named parts."""
AGAIN = "fix it and continue with --resume"
Scores = dict[str, list[float | None]]
"""For each named part one number per response; None where the part does not apply to that response."""


@dataclass(frozen=True, slots=True)
class Said:
    """One response as a reward sees it."""

    messages: tuple[Message, ...]
    """The conversation before the response."""
    response: str
    extra: Mapping[str, object] = field(default_factory=dict[str, object])
    """The prompt's other data: a correct answer, tests, a rubric."""
    id: str = ""
    """The prompt's id."""
    tokens: tuple[int, ...] = ()
    """The response's token ids, stop token included."""

    @property
    def conversation(self) -> list[dict[str, Any]]:
        """The messages as plain JSON."""
        return [plain(message) for message in self.messages]


class TextReward(Protocol):
    """A reward of texts: a function, a verifier, a server, a judge. Rollouts of one turn and of many ask it the same way."""

    def score(self, rows: Sequence[Said]) -> Scores:
        """Return the parts of each response's reward. Raises RunError, after which the run can be resumed."""
        ...


def plain(message: Message) -> dict[str, Any]:
    """Return a message as JSON: role and content, and whatever else it has."""
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    return said | {"media": [dataclasses.asdict(one) for one in message.media]} if message.media else said


def named(rows: Sequence[Said], place: int) -> str:
    """Return how an error names a row."""
    return f"response {place} of the batch" + (f" (to prompt {rows[place].id})" if rows[place].id else "")


def parts_of(returned: Any, rows: Sequence[Said], where: str) -> Scores:
    """Return the parts in what a reward returned: one number or None per response, or named parts of those.

    Named parts may come as ``{"format": [...], "right": [...]}``, or as a dict for each response.

    Raises:
        RunError: it has another shape, or something in it is not a finite number; names the row.
    """
    if isinstance(returned, Mapping):
        given = cast("Mapping[Any, Any]", returned)
        if not given:
            raise RunError("returned a dict without parts", where=where, hint="name at least one part, or return a list of numbers")
        return {str(name): _numbers(values, rows, f"{where}, part {name}") for name, values in given.items()}
    values = _listed(returned, rows, where)
    if not any(isinstance(value, Mapping) for value in values):
        return {ONE: _numbers(values, rows, where)}
    keys = dict.fromkeys(str(key) for value in values if isinstance(value, Mapping) for key in cast("Mapping[Any, Any]", value))
    parts: Scores = {}
    for key in keys:
        column = [cast("Mapping[Any, Any]", value).get(key) if isinstance(value, Mapping) else value for value in values]
        parts[key] = _numbers(column, rows, f"{where}, part {key}")
    for place, value in enumerate(values):
        if value is not None and not isinstance(value, Mapping):
            what = f"returned {value!r:.40} for {named(rows, place)}, but named parts for others"
            raise RunError(what, where=where, hint="return a dict for every response, or for none")
    return parts or {ONE: [None] * len(rows)}


def joined_parts(chunks: Sequence[tuple[Scores, int]], where: str) -> Scores:
    """Return the parts of all responses from those of chunks, each with its number of responses.

    A named part that a chunk lacks applies to none of its responses; so do all parts where a chunk says nothing but None.

    Raises:
        RunError: some chunks have named parts, and others numbers without a name.
    """
    nameless = any(value is not None for parts, _ in chunks for value in parts.get(ONE, ()))
    names = dict.fromkeys(name for parts, _ in chunks for name in parts if name != ONE)
    if names and nameless:
        what = "named parts for some responses, and gave a number without a name for others"
        raise RunError(what, where=where, hint="return a dict for every response, or for none")
    whole: Scores = {name: [] for name in names or [ONE]}
    for parts, rows in chunks:
        for name, numbers in whole.items():
            numbers.extend(parts.get(name, [None] * rows))
    return whole


def _listed(returned: Any, rows: Sequence[Said], where: str) -> list[Any]:
    """Return what came back as a list with one value per response."""
    hint = "a reward returns one number or None for each response, in their order"
    if hasattr(returned, "tolist"):
        returned = returned.tolist()
    if isinstance(returned, str | bytes | Mapping) or not isinstance(returned, Iterable):
        raise RunError(f"returned what is no list of numbers: {returned!r:.80}", where=where, hint=hint)
    values = list(cast("Iterable[Any]", returned))
    if len(values) != len(rows):
        raise RunError(f"returned {len(values)} rewards for {len(rows)} responses", where=where, hint=hint)
    return values


def _numbers(returned: Any, rows: Sequence[Said], where: str) -> list[float | None]:
    numbers: list[float | None] = []
    for place, given in enumerate(_listed(returned, rows, where)):
        value = given.item() if hasattr(given, "item") else given
        if value is None:
            numbers.append(None)
            continue
        if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
            what = f"returned what is no list of numbers: {value!r:.80} for {named(rows, place)}"
            raise RunError(what, where=where, hint=f"return a number, or None where the reward does not apply; {AGAIN}")
        number = float(value)
        if not math.isfinite(number):
            hint = f"return a finite number, or None where the reward does not apply; {AGAIN}"
            raise RunError(f"returned {number} for {named(rows, place)}", where=where, hint=hint)
        numbers.append(number)
    return numbers


def total(scores: Scores, rows: int) -> list[float | None]:
    """Return each response's sum over the parts that apply to it; None where none does."""
    sums: list[float | None] = []
    for place in range(rows):
        applying = [value for part in scores.values() if (value := part[place]) is not None]
        sums.append(sum(applying) if applying else None)
    return sums


def counts_of(part: object) -> Counter[str]:
    """Return what a reward could not judge, by kind; the caller may clear it."""
    found: object = getattr(part, "counts", None)
    return cast("Counter[str]", found) if isinstance(found, Counter) else Counter()


def missing_share(extras: Sequence[Mapping[str, object]], column: str) -> float:
    """Return the share of prompts that have nothing in a column."""
    return sum(extra.get(column) is None for extra in extras) / max(len(extras), 1)
