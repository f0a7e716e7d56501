"""What a program is worth: the share of its prompt's tests that it passes in the sandbox, and a little for code that can be read.

    accord grpo my-project --rewards code                # the tests alone
    accord grpo my-project --rewards "rewards:worth"
    accord label my-project --by rewards:worth           # a trial of the way, without people

The sandbox needs Linux (docs/rewards.md).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from accord.rewards.code_tests import CodeReward, program_of
from accord.rewards.rows import ONE, Said


def passed(prompts: object, responses: Sequence[str], tests: Sequence[Sequence[str]]) -> list[float]:
    """The share of the tests that each program passes."""
    rows = [Said((), text, {"tests": list(each)}) for text, each in zip(responses, tests, strict=True)]
    return [float(value or 0.0) for value in CodeReward("tests", "tests").score(rows)[ONE]]


def is_python(response: str) -> bool:
    """Return whether the program in a response can be read as Python and defines a function."""
    try:
        tree = ast.parse(program_of(response))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.FunctionDef) for node in ast.walk(tree))


def fenced(response: str) -> bool:
    """Return whether the program stands in a fence, so that it can be copied without the words around it."""
    return "```" in response and program_of(response) != response


def worth(prompts: object, responses: Sequence[str], tests: Sequence[Sequence[str]]) -> Mapping[str, list[float]]:
    """Tests first; a tenth for Python, a tenth for a fence."""
    return {
        "passed": passed(prompts, responses, tests),
        "python": [0.1 * is_python(text) for text in responses],
        "fenced": [0.1 * fenced(text) for text in responses],
    }
