"""Formats of instructions with a written response: Alpaca, Dolly, self-instruct, Super-NaturalInstructions, GSM8K."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from accord.data.row_records import (
    Taken,
    answered,
    demonstrated,
    instruction_turns,
    make_prompt,
    places,
    ranked,
    unusable,
)
from accord.data.rows import Fault, Row
from accord.errors import InputError
from accord.records import Message, Prompt

DOLLY = {
    "brainstorming": "brainstorm",
    "classification": "classify",
    "closed_qa": "closed QA",
    "creative_writing": "generation",
    "general_qa": "open QA",
    "information_extraction": "extract",
    "open_qa": "open QA",
    "summarization": "summarise",
}
"""Dolly's categories as use cases."""


def alpaca(row: Row) -> Taken:
    """Read ``instruction``, ``input``, ``output`` (Taori et al. 2023)."""
    return demonstrated(row, make_prompt(row, instruction_turns(row.text("instruction"), row.text("input", ""))), row.text("output"))


def dolly(row: Row) -> Taken:
    """Read ``instruction``, ``context``, ``response`` and ``category`` (Conover et al. 2023)."""
    use_case = DOLLY.get(row.word("category"), row.word("category"))
    prompt = make_prompt(row, instruction_turns(row.text("instruction"), row.text("context", "")), use_case=use_case)
    return demonstrated(row, prompt, row.text("response"))


def self_instruct(row: Row) -> Taken:
    """Read a task and its first input (Wang et al. 2022, arXiv 2212.10560). Tasks written for one application count as one user's.

    The written outputs are left to ``--format self-instruct-written``, since the user tasks are for evaluation.
    """
    prompt = task_prompt(row)
    reason = unusable(prompt)
    return Taken(dropped=reason) if reason else Taken((prompt,))


def self_instruct_written(row: Row) -> Taken:
    """Read the same tasks, each instance with the output that a person wrote."""
    taken = Taken()
    for instance in (row.first("instances"), *row.rows("instances")[1:]):
        prompt = make_prompt(row, instruction_turns(row.text("instruction"), instance.text("input", "")), user=row.word("motivation_app"))
        taken += demonstrated(row, prompt, instance.text("output"))
    return taken


def task_prompt(row: Row) -> Prompt:
    given = row.first("instances").text("input", "")
    return make_prompt(row, instruction_turns(row.text("instruction"), given), user=row.word("motivation_app"))


def natural_instructions(row: Row) -> Taken:
    """Read one instance of a Super-NaturalInstructions task (Wang et al. 2022, arXiv 2204.07705), or a row of its flat form.

    Of several right outputs the first is used.
    """
    if row.has("targets"):
        return demonstrated(row, make_prompt(row, instruction_turns(row.text("definition"), row.text("inputs"))), row.text("targets"))
    given = row.peek("Definition")
    definition = " ".join(row.texts("Definition")) if isinstance(given, list) else row.text("Definition")
    prompt = make_prompt(row, instruction_turns(definition, row.text("input")))
    if isinstance(row.peek("output"), str):
        return demonstrated(row, prompt, row.text("output"))
    outputs = row.texts("output")
    if not outputs:
        return Taken(dropped="instance without an output")
    return demonstrated(row, prompt, outputs[0])


def instances(rows: Iterator[Row]) -> Iterator[Row | Fault]:
    """Yield the instances of task files, each with its task's definition; rows of the flat form pass unchanged."""
    for row in rows:
        try:
            given = () if row.has("targets") else row.rows("Instances")
        except InputError as error:
            yield row.fault(error)
            continue
        if row.has("targets"):
            yield row
        for i, instance in enumerate(given):
            task = {name: value for name, value in row.value.items() if name != "Instances"}
            yield Row({**task, **instance.value}, row.file, row.line, f"Instances[{i}].", columns=row.columns)


def gsm8k(row: Row) -> Taken:
    """Read a word problem and its solution, which ends with "#### " and the number (Cobbe et al. 2021, arXiv 2110.14168).

    A file of models' solutions, each marked right or wrong, becomes responses, and a ranking where some are right and others wrong.
    """
    arithmetic = "####" in row.text("answer", "####")
    prompt = make_prompt(
        row, (Message("user", row.text("question")),), use_case="arithmetic" if arithmetic else "", beside=("ground_truth",)
    )
    if row.has("answer"):
        return demonstrated(row, prompt, row.text("answer"))
    if reason := unusable(prompt):
        return Taken(dropped=reason)
    solved: dict[str, Any] = {name: row.row(name) for name, value in row.value.items() if isinstance(value, dict) and "solution" in value}
    texts = [solution.text("solution") for solution in solved.values()]
    right = [float(solution.truth("is_correct")) for solution in solved.values()]
    if len(set(right)) < 2 or len(set(texts)) < 2:
        records = (answered(prompt, text, model) for model, text in zip(solved, texts, strict=True))
        return Taken((prompt, *records), left_out=("ranking of solutions that are all right or all wrong",))
    return ranked(row, prompt, texts, places(right), models=list(solved), default="checked", kind="simulated")
