"""Evaluation sets that nothing may learn from: MT-Bench, BBQ, Winogender. Their prompts belong to the test split."""

from __future__ import annotations

from accord.data.row_records import Known, Taken, answered, demonstrated, make_prompt, unusable
from accord.data.rows import Row
from accord.records import Message, Prompt


def mt_bench(row: Row) -> Taken:
    """Read the first turn of a question; a later turn would need the model's own answer before it (Zheng et al. 2023, arXiv 2306.05685)."""
    prompt, later = bench_prompt(row), len(row.texts("turns")) - 1
    reason = unusable(prompt)
    return Taken(dropped=reason) if reason else Taken((prompt,), left_out=("later turn, which follows the model's own answer",) * later)


def mt_bench_answers(row: Row, known: Known) -> Taken:
    """Read a model's answer to the first turn of a question, which stands in another file of the same folder."""
    number, model = row.word("question_id"), row.word("model_id", "model")
    prompt = known.by_number.get(number)
    if prompt is None:
        raise row.error("question_id", f"no question {number} was read beside it", "import the folder that also holds the questions")
    turns = row.first("choices").texts("turns")
    if not turns:
        return Taken(dropped="empty response")
    left_out = ("answer to a later turn",) * (len(turns) - 1)
    return Taken((prompt, answered(prompt, turns[0], model)), left_out=left_out)


def bench_prompt(row: Row) -> Prompt:
    turns = row.texts("turns")
    if not turns:
        raise row.error("turns", "an empty list")
    return make_prompt(row, (Message("user", turns[0]),), use_case=row.word("category", "other"), split="test", beside=("reference",))


def bbq(row: Row) -> Taken:
    """Read a context, a question and three answers, of which ``label`` is right (Parrish et al. 2022, arXiv 2110.08193)."""
    answers = [row.text(f"ans{n}") for n in range(3)]
    right = row.whole("label")
    if right not in range(3):
        raise row.error("label", f"{right} is none of 0, 1, 2")
    options = "\n".join(f"({letter}) {answer}" for letter, answer in zip("abc", answers, strict=True))
    text = f"{row.text('context')}\n\n{row.text('question')}\n{options}"
    beside = ("answer_info", "context_condition", "question_polarity")
    return demonstrated(row, make_prompt(row, (Message("user", text),), use_case="bias", split="test", beside=beside), answers[right])


def winogender(row: Row) -> Taken:
    """Read a sentence, or a template of one, with a pronoun to resolve (Rudinger et al. 2018, arXiv 1804.09301)."""
    prompt = make_prompt(row, (Message("user", row.text("sentence")),), use_case="bias", split="test", beside=("answer",))
    reason = unusable(prompt)
    return Taken(dropped=reason) if reason else Taken((prompt,))
