"""Tasks with a known answer: BIG-bench, multiple choice (MMLU and its kin), IFEval, and rows for rewards that check (RLVR, verl).

Benchmarks measure, so their prompts belong to the test split. The answer, the choices and the constraints are in ``Prompt.extra``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from accord.data.row_extra import columns, noted
from accord.data.row_records import Taken, conversation, demonstrated, make_prompt, prompt_of, unusable
from accord.data.rows import Fault, Row, empty, first_object, plain
from accord.errors import InputError
from accord.records import Message, Prompt

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def big_bench(row: Row) -> Taken:
    """Read one example of a BIG-bench task (Srivastava et al. 2022, arXiv 2206.04615): ``input`` with ``target`` or ``target_scores``.

    Choices are shown below the input. The best choice, or the first target, is a demonstration of the test split.
    """
    text = row.text("inputs") if row.has("inputs") else _shown(row)
    scores = _scores(row)
    if scores:
        best = max(scores.values())
        right = [choice for choice, score in scores.items() if score == best]
    else:
        given: Any = row.peek("target") if row.has("target") else row.peek("targets")
        name = "target" if row.has("target") else "targets"
        right = list(row.texts(name)) if isinstance(given, list) else [row.text(name)]
    if not right or not right[0].strip():
        return Taken(dropped="example without a target")
    known = {"answer": right[0] if len(right) == 1 else right, **({"choices": list(scores), "scores": scores} if scores else {})}
    prompt = make_prompt(row, (Message("user", text),), use_case="benchmark", split="test")
    return noted(demonstrated(row, prompt, right[0]), {**known, **columns(row, "name", "comment")})


def _shown(row: Row) -> str:
    """Return an example's input below the task's prefix, with its choices, as BIG-bench shows them."""
    parts = [row.text("task_prefix", "").strip(), (row.text("example_input_prefix", "").lstrip("\n") + row.text("input")).strip()]
    appended = not row.has("append_choices_to_input") or row.truth("append_choices_to_input")
    row.raw("append_choices_to_input")
    mark = row.text("choice_prefix", "\n  choice: ")
    row.raw("example_output_prefix")
    if row.has("target_scores") and appended:
        parts[-1] += "".join(f"\n{mark.lstrip(chr(10))}{choice}" for choice in row.row("target_scores").value)
    return "\n\n".join(part for part in parts if part)


def _scores(row: Row) -> dict[str, float]:
    """Return the score of each choice; empty where the example has no choices."""
    if row.has("target_scores"):
        choices = row.row("target_scores")
        return {choice: choices.number(choice) for choice in choices.value}
    if row.has("multiple_choice_targets") and row.items("multiple_choice_targets"):
        names, given = row.texts("multiple_choice_targets"), row.items("multiple_choice_scores")
        if len(names) != len(given) or not all(isinstance(score, int | float) for score in given):
            raise row.error("multiple_choice_scores", f"{len(names)} choices but the scores {given}"[:200])
        row.raw("targets")
        return {name: float(score) for name, score in zip(names, given, strict=True)}
    return {}


def examples(rows: Iterator[Row]) -> Iterator[Row | Fault]:
    """Yield the examples of task files, each with what its task says about all of them; rows of the flat form pass unchanged."""
    for row in rows:
        if not row.has("examples"):
            yield row
            continue
        try:
            given = row.rows("examples")
        except InputError as error:
            yield row.fault(error)
            continue
        task = {name: value for name, value in row.value.items() if name != "examples"}
        for i, example in enumerate(given):
            yield Row({**task, **example.value}, row.file, row.line, f"examples[{i}].", columns=row.columns)


def of_examples(value: dict[str, Any]) -> bool:
    """Return whether a row is a BIG-bench task, or an example of one in the flat form."""
    first = first_object(value, "examples")
    return "multiple_choice_targets" in value or ("input" in first and ("target" in first or "target_scores" in first))


def choices(row: Row) -> Taken:
    """Read a question with choices and the number or letter of the right one, as MMLU (Hendrycks et al. 2021, arXiv 2009.03300) has it.

    Also the forms of MMLU-Pro (``options``), ARC (``choices`` of text and label, ``answerKey``) and C-Eval (columns A to D). The letter
    of the right choice is a demonstration of the test split.
    """
    asked = next((name for name in ("question", "Question") if row.has(name)), "question")
    offered, labels = _offered(row)
    if len(offered) < 2:
        raise row.error("choices", f"a question needs two choices or more, not {len(offered)}")
    right = _right(row, len(offered), labels)
    if right is None:
        return Taken(dropped="question without an answer")
    shown = "\n".join(f"{letter}. {choice}" for letter, choice in zip(labels, offered, strict=True))
    text = f"{row.text(asked).strip()}\n{shown}"
    prompt = make_prompt(row, (Message("user", text),), use_case="benchmark", split="test")
    row.raw("answer_index")
    about = columns(row, "subject", "category", "explanation", "cot_content", "id", "question_id", "src")
    return noted(demonstrated(row, prompt, labels[right]), {"answer": labels[right], "choices": offered, **about})


def _offered(row: Row) -> tuple[list[str], list[str]]:
    """Return the choices and the letters that name them."""
    for name in ("choices", "options"):
        if not row.has(name):
            continue
        if isinstance(row.peek(name), dict):
            inner = row.row(name)
            offered, labels = list(inner.texts("text")), list(inner.texts("label"))
            if len(offered) != len(labels):
                raise inner.error("label", f"{len(offered)} choices but {len(labels)} labels")
            return offered, labels
        offered = list(row.texts(name))
        return offered, list(LETTERS[: len(offered)])
    labels = [letter for letter in LETTERS if row.has(letter)]
    return [row.word(letter) for letter in labels], labels


def _right(row: Row, count: int, labels: list[str]) -> int | None:
    """Return the number of the right choice; None where no field names one, as in a test set that keeps its answers back."""
    for name in ("answer", "answerKey", "Answer", "label"):
        value = row.word(name)
        if value in ("", "-1"):
            continue
        if value in labels or value.upper() in labels:
            return labels.index(value if value in labels else value.upper())
        if isinstance(row.peek(name), int | float) and row.number(name) in range(count):
            return row.whole(name)
        raise row.error(name, f"{value!r} names none of the {count} choices"[:120])
    return None


def is_choice(value: dict[str, Any]) -> bool:
    """Return whether a row's answer names one of its choices, rather than being a worked solution."""
    answer: Any = next((value[name] for name in ("answer", "answerKey", "Answer", "label") if value.get(name) is not None), "")
    if isinstance(answer, str):
        return len(answer.strip()) <= 2
    return isinstance(answer, int | float)


def ifeval(row: Row) -> Taken:
    """Read a prompt with constraints that a program can check (Zhou et al. 2023, arXiv 2311.07911): a prompt of the test split.

    ``instruction_id_list`` and ``kwargs`` are kept with the prompt, without the arguments that are null.
    """
    prompt, names, given = prompt_of(row), row.texts("instruction_id_list"), row.items("kwargs") if row.has("kwargs") else []
    if given and len(given) != len(names):
        raise row.error("kwargs", f"{len(names)} instructions but {len(given)} sets of arguments")
    arguments = [_without_null(row, value) for value in given]
    prompt = make_prompt(row, prompt.messages, use_case="benchmark", split="test")
    if reason := unusable(prompt):
        return Taken(dropped=reason)
    return noted(Taken((prompt,)), {**columns(row, "key"), "instruction_id_list": list(names), "kwargs": arguments})


def _without_null(row: Row, value: object) -> dict[str, Any]:
    if isinstance(value, str):
        value = _parsed(value)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise row.error("kwargs", f"not an object: {value!r}"[:120])
    return {name: plain(item) for name, item in cast("dict[str, Any]", value).items() if item is not None}


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


CHECKED = (
    "ground_truth",
    "constraint",
    "constraint_type",
    "dataset",
    "data_source",
    "ability",
    "extra_info",
    "tests",
    "answer",
    "solution",
)
"""Columns of rows with a checkable answer that rewards read."""


def checkable(row: Row) -> Taken:
    """Read a prompt with the answer that a program checks: RLVR's ``ground_truth`` (arXiv 2411.15124), verl's ``reward_model``.

    Everything that a reward may need is kept under its own name; the answer also as ``answer``.
    """
    prompt = _question(row)
    style = {}
    if isinstance(row.peek("reward_model"), dict):
        inner = row.row("reward_model")
        truth: Any = plain(inner.raw("ground_truth"))
        style = {"reward_model": {"ground_truth": truth, **columns(inner, "style", "rubric")}}
    else:
        truth = plain(row.raw("ground_truth"))
    if empty(truth):
        return Taken(dropped="row without a ground truth")
    if reason := unusable(prompt):
        return Taken(dropped=reason)
    about = {"answer": truth, **columns(row, *CHECKED), **style}
    return noted(Taken((prompt,)), about)


def _question(row: Row) -> Prompt:
    """Return the prompt of a row, whose messages may go on to an answer, which is left to the reward."""
    for name in ("messages", "prompt"):
        if isinstance(row.peek(name), list):
            turns = conversation(row, name)
            if not turns or turns[-1].role != "user":
                raise row.error(name, "a prompt must end with the user's turn")
            return make_prompt(row, turns)
    name = next((name for name in ("prompt", "question", "problem") if row.has(name)), "prompt")
    return make_prompt(row, (Message("user", row.text(name)),))
