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


def read_tests(value: Any, where: str, largest: int = Limits.file_mb << 20) -> list[Test]:
    """Read a row's tests: code, a list of code, ``{"input", "output"}`` or a list of it, or ``{"inputs": [...], "outputs": [...]}``.

    Args:
        where: the row, for the message of an error.
        largest: bytes that a program can write.

    Raises:
        InputError: it is none of these, or no program can pass one of them.
    """
    tests = _tests(value, where)
    for test in tests:
        if test.wanted is not None and (size := len(test.wanted.encode("utf-8", "surrogatepass"))) > largest:
            hint = "leave the test out, or test by code (assert)"
            raise InputError(f"expects {size:,} bytes of output; a program may write {largest:,}", where=where, hint=hint)
    return tests


def _tests(value: Any, where: str) -> list[Test]:
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        with contextlib.suppress(ValueError):  # code may begin with a bracket
            value = json.loads(value)
    if isinstance(value, Mapping):
        given = cast("Mapping[str, Any]", value)
        if {"inputs", "outputs"} <= given.keys():
            return _paired(given, where)
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


def _paired(given: Mapping[str, Any], where: str) -> list[Test]:
    inputs, outputs = given["inputs"], given["outputs"]
    if given.get("fn_name"):
        hint = "write such tests as code (assert), or leave the row out"
        raise InputError(f"calls the function {given['fn_name']!r}; tests go by standard input and output", where=where, hint=hint)
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise InputError("inputs and outputs of tests are no lists", where=where, hint='give {"inputs": [...], "outputs": [...]}')
    inputs, outputs = cast("list[Any]", inputs), cast("list[Any]", outputs)
    if len(inputs) != len(outputs) or not inputs:
        hint = "each test is one input and one output"
        raise InputError(f"holds {len(inputs)} inputs and {len(outputs)} outputs of tests", where=where, hint=hint)
    return [Test(given=_lines(one), wanted=_lines(other)) for one, other in zip(inputs, outputs, strict=True)]


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
    """Programs by how they ended where they did not pass: ``left``, ``failed``, ``time``, ``memory``, ``output``, ``killed``."""

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
                asked += [(place, program_of(row.response), test) for test in read_tests(value, where, self.limits.file_mb << 20)]
        with ThreadPoolExecutor(max(1, self.workers)) as pool:
            passed = list(pool.map(self._passes, [program for _, program, _ in asked], [test for _, _, test in asked]))
        results: dict[int, list[bool]] = {}
        for (place, _, _), right in zip(asked, passed, strict=True):
            results.setdefault(place, []).append(right)
        return {ONE: [sum(results[place]) / len(results[place]) if place in results else None for place in range(len(rows))]}

    def _passes(self, program: str, test: Test) -> bool:
        ran = sandbox.run(f"{program}\n\n{test.code}\n", given=test.given, limits=self.limits)
        # Output is compared whole, so that a program may exit before its last line; of one that does, code that follows was not run.
        if ran.outcome != "done" and (ran.outcome != "left" or test.wanted is None):
            self.counts[ran.outcome] += 1
            return False
        return test.wanted is None or _same(ran.output, test.wanted)


def _same(one: str, other: str) -> bool:
    """Whether two outputs are the same but for white space at the ends of lines and of all."""
    return [line.rstrip() for line in one.rstrip().split("\n")] == [line.rstrip() for line in other.rstrip().split("\n")]
