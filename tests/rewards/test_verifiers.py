"""Verifiers: what counts as the right answer, a match, valid JSON; and the share of tests that a program passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accord.errors import InputError
from accord.records import Message
from accord.rewards.code_tests import CodeReward, program_of, read_tests
from accord.rewards.isolated import Verified
from accord.rewards.rows import ONE, Said
from accord.rewards.verifiers import answer_of, read_schema, verifier


def said(*rows: tuple[str, Any], column: str = "answer") -> list[Said]:
    return [
        Said((Message("user", "q"),), response, {} if expected is None else {column: expected}, f"p{place}")
        for place, (response, expected) in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so it is\n#### 1,234\nbye", "1,234"), (r"thus \boxed{\frac{1}{2}}.", r"\frac{1}{2}"), (r"\boxed{3} no, \boxed{4}", "4"),
        (" Paris. ", "Paris."), ("<think>#### 3</think>\n4", "4"), (r"\boxed{open", r"\boxed{open"),
    ],
)  # fmt: skip
def test_the_final_answer_of_a_text(text: str, answer: str) -> None:
    assert answer_of(text) == answer


@pytest.mark.parametrize(
    ("response", "expected", "worth"),
    [
        ("#### 1,234", "work\n#### 1234.0", 1), ("Paris.", " PARIS ", 1), ("$18.50", "18.5", 1), ("no", "yes", 0), ("", "", 0),
        ("b", ["a", "B"], 1), ("ｐａｒｉｓ", "Paris", 1), ("1e400", "1", 0), ("12", "1 2", 0),
    ],
)  # fmt: skip
def test_exact_answers_are_compared_in_one_form(response: str, expected: Any, worth: float) -> None:
    assert verifier("exact", None)(response, expected) == worth


def test_mathematics_is_compared_by_its_value_in_a_process_of_its_own() -> None:
    part = Verified("math", "math", column="answer", expected={"p9": "#### 7"})
    rows = said(
        ("so\n#### 1,234", "work\n#### 1234"), (r"it is \boxed{\frac{1}{2}}", "0.5"), ("#### 3", "4"), ("", "4"), ("it is 42.", "42"),
        ("$x^2+2x+1$", "$(x+1)^2$"), ("1/2", "0.5"), ("(1, 3)", "(1,2)"), ("free", None), ("I say 7", None),
    )  # fmt: skip
    assert part.score(rows) == {ONE: [1, 1, 0, 0, 1, 1, 1, 0, None, 1]}


@pytest.mark.parametrize(
    ("response", "expected", "worth"),
    [
        ("#### 8 * 2", "16", 0), ("8 * 2 = 16\n#### 8 * 2", "16", 0), ("8 * 2", "#### 16", 0), (r"\boxed{8 \times 2}", "16", 0),
        ("#### 20-4", "16", 0), ("#### 12 + 4", "16", 0), ("#### 48/3", "16", 0), (r"\boxed{\frac{48}{3}}", "16", 0), ("#### 2^4", "16", 0),
        (r"\boxed{\sqrt{256}}", "16", 0), ("#### 8*2", ["16", "17"], 0), ("#### 3 + 1/2", "3.5", 0),
        ("#### 16", "16", 1), ("8 * 2 = 16", "16", 1), ("8 * 2 is so\n#### 16", "16", 1), ("#### -16", "-16", 1), ("#### 1/2", "0.5", 1),
        (r"\boxed{1.2 \times 10^{5}}", "120000", 1), ("$x+1+1$", "$x+2$", 1), ("#### $16", "16", 1), ("#### 8*2", "8*2", 1),
    ],
)  # fmt: skip
def test_a_sum_that_is_left_to_be_done_is_no_number(response: str, expected: Any, worth: float) -> None:
    assert verifier("math", None)(response, expected) == worth


def test_json_is_valid_under_a_schema_or_worth_nothing(tmp_path: Path) -> None:
    path = tmp_path / "person.json"
    path.write_text('{"type": "object", "required": ["name"], "properties": {"age": {"type": "integer", "minimum": 0}}}')
    check = verifier("json_schema", read_schema(path))
    texts = [
        '{"name": "Ann", "age": 3}',
        '```json\n{"name": "Ann"}\n```',
        '{"age": 3}',
        '{"name": "Ann", "age": -1}',
        "name: Ann",
        'Here: {"name": 1}',
    ]
    assert [check(text, None) for text in texts] == [1, 1, 0, 0, 0, 0]
    assert verifier("json_schema", None)("3", '{"type": "integer"}') == 1
    path.write_text('{"type": "objekt"}')
    with pytest.raises(InputError, match="is no JSON Schema"):
        read_schema(path)
    with pytest.raises(InputError, match="no such file"):
        read_schema(tmp_path / "nowhere.json")


def test_code_is_worth_the_share_of_its_tests_that_pass() -> None:
    part = CodeReward("code", "tests")
    answer = "First.\n```python\ndef f(x):\n    return x + 1\n```\n"
    rows = said(
        (answer, ["assert f(1) == 2", "assert f(2) == 4"]),
        ("print(int(input()) * 2)", [{"input": "3", "output": "6\n"}, {"input": "0", "output": "0"}]),
        ("import sys; sys.exit(0)", "assert False"),
        ("import sys; print(6); sys.exit(0)", {"input": "", "output": "6"}),
        ("import sys; print(6); sys.exit(1)", {"input": "", "output": "6"}),
        ("print('ab' * 100_000)", {"input": "", "output": "ab" * 100_000}),
        ("def f(x:", "assert f"),
        ("anything", None),
        column="tests",
    )  # fmt: skip
    assert part.score(rows) == {ONE: [0.5, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, None]}
    assert part.counts == {"failed": 3, "left": 1}


def test_tests_are_read_in_the_shapes_that_data_sets_have() -> None:
    assert [test.code for test in read_tests("assert f(1)", "p")] == ["assert f(1)"]
    pairs = read_tests('{"inputs": ["1\\n", ["2", "3"]], "outputs": [1, 5]}', "p")
    assert [(test.given, test.wanted) for test in pairs] == [("1\n", "1"), ("2\n3", "5")]
    for unusable in (3, [], {"a": 1}, [{"input": 1}], [1]):
        with pytest.raises(InputError, match="p: holds no tests"):
            read_tests(unusable, "p")
    for unusable, why in (
        ({"inputs": ["1", "2"], "outputs": ["1"]}, "holds 2 inputs and 1 outputs"),
        ({"inputs": [], "outputs": []}, "holds 0 inputs"),
        ({"inputs": "12", "outputs": "34"}, "inputs and outputs of tests are no lists"),
        ({"inputs": [[1]], "outputs": [2], "fn_name": "add"}, "calls the function 'add'"),
        ({"input": "", "output": "a" * (1 << 20) + "b"}, "expects 1,048,577 bytes of output"),
    ):
        with pytest.raises(InputError, match=f"p: {why}"):
            read_tests(unusable, "p")
    assert program_of("```\na\n```\nor\n```python\nb\n```") == "b\n"
