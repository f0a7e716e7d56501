"""Code as a reward: the share of a row's tests that the response's program passes, each in the sandbox."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

from accord.errors import InputError
from accord.rewards.rows import ONE, Said, Scores
from accord.rewards.verifiers import FENCED, THOUGHT
from accord.runtime import sandbox
from accord.runtime.sandbox import Limits


@dataclass(frozen=True)
class Test:
    """A test: code that follows the program's, or an input with the output that is expected."""

    code: str = ""
    given: str = ""
    wanted: str | None = None


def read_tests(value: Any, where: str) -> list[Test]:
    """Read a row's tests: code, a list of code, ``{"input", "output"}`` or a list of it, or ``{"inputs": [...], "outputs": [...]}``.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        with contextlib.suppress(ValueError):  # code may begin with a bracket
            value = json.loads(value)
    if isinstance(value, Mapping):
        given = cast("Mapping[str, Any]", value)
        if {"inputs", "outputs"} <= given.keys():
            pairs = zip(given["inputs"], given["outputs"], strict=False)
            return [Test(given=_lines(one), wanted=_lines(other)) for one, other in pairs]
        value = [given]
    tests: list[Test] = []
    for each in [value] if isinstance(value, str) else cast("Sequence[Any]", value) if isinstance(value, Sequence) else []:
        if isinstance(each, str):
            tests.append(Test(each))
        elif isinstance(each, Mapping) and {"input", "output"} <= cast("Mapping[str, Any]", each).keys():
            pair = cast("Mapping[str, Any]", each)
            tests.append(Test(given=_lines(pair["input"]), wanted=_lines(pair["output"])))
        else:
            tests = []
            break
    if not tests:
        hint = 'tests are code ("assert f(1) == 2"), a list of it, or {"input": ..., "output": ...}'
        raise InputError(f"holds no tests: {value!r:.60}", where=where, hint=hint)
    return tests


def _lines(value: Any) -> str:
    return "\n".join(map(str, cast("list[Any]", value))) if isinstance(value, list) else str(value)


def program_of(response: str) -> str:
    """Return the program in a response: its last fenced block, or all of it where nothing is fenced."""
    text = THOUGHT.sub("", response)
    return (FENCED.findall(text) or [text])[-1]


@dataclass(frozen=True)
class CodeReward:
    """The share of tests that a response's program passes. ``column`` names the tests in the prompts' data."""

    name: str
    column: str
    limits: Limits = field(default_factory=Limits)
    workers: int = 4
    counts: Counter[str] = field(default_factory=Counter[str], compare=False)
    """Programs by how they ended where they did not pass: ``failed``, ``time``, ``memory``, ``output``, ``killed``."""

    def score(self, rows: Sequence[Said]) -> Scores:
        """Run every program against its tests; None where a row has no tests.

        Raises:
            InputError: a row's tests cannot be read.
            UsageError: this machine cannot confine a program.
        """
        asked: list[tuple[int, str, Test]] = []
        for place, row in enumerate(rows):
            if (value := row.extra.get(self.column)) is not None:
                where = f"the reward {self.name}, prompt {row.id}"
                asked += [(place, program_of(row.response), test) for test in read_tests(value, where)]
        with ThreadPoolExecutor(max(1, self.workers)) as pool:
            passed = list(pool.map(self._passes, [program for _, program, _ in asked], [test for _, _, test in asked]))
        results: dict[int, list[bool]] = {}
        for (place, _, _), right in zip(asked, passed, strict=True):
            results.setdefault(place, []).append(right)
        return {ONE: [sum(results[place]) / len(results[place]) if place in results else None for place in range(len(rows))]}

    def _passes(self, program: str, test: Test) -> bool:
        ran = sandbox.run(f"{program}\n\n{test.code}\n", given=test.given, limits=self.limits)
        if ran.outcome != "done":
            self.counts[ran.outcome] += 1
            return False
        return test.wanted is None or _same(ran.output, test.wanted)


def _same(one: str, other: str) -> bool:
    """Whether two outputs are the same but for white space at the ends of lines and of all."""
    return [line.rstrip() for line in one.rstrip().split("\n")] == [line.rstrip() for line in other.rstrip().split("\n")]
