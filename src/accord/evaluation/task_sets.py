"""Public tests in their published file formats: TruthfulQA, BBQ, winogender, CrowS-Pairs, multiple choice,
worked answers, prompts marked as harmful or not. A file's kind is recognised by its fields.

kind        fields                                                        published by
truthfulqa  Question, Correct Answers, Incorrect Answers (CSV), or        Lin et al. 2022
            question with mc1_targets, mc2_targets
bbq         context, question, ans0..ans2, label, context_condition       Parrish et al. 2022
winogender  sentid, sentence (all_sentences.tsv)                          Rudinger et al. 2018
crows       sent_more, sent_less, stereo_antistereo, bias_type            Nangia et al. 2020
choice      question, choices, answer (a number from 0, or the text)
worked      question, answer that ends in #### and a number               Cobbe et al. 2021 (GSM8K)
harm        prompt, harmful (true or false)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from accord.data.row_reader import read_rows
from accord.data.rows import Row
from accord.errors import InputError

Kind = Literal["truthfulqa", "bbq", "winogender", "crows", "choice", "worked", "harm"]


@dataclass(frozen=True, slots=True)
class Item:
    """One question, or one set of sentences to be compared."""

    question: str
    choices: tuple[str, ...] = ()
    """The answers, or whole sentences where there is no question."""
    right: tuple[int, ...] = ()
    """Indices of the right answers."""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further data that this kind's score needs."""


@dataclass(frozen=True, slots=True)
class TaskSet:
    """The content of one file."""

    name: str
    kind: Kind
    items: tuple[Item, ...]


def read_task_set(path: Path, limit: int = 0) -> TaskSet:
    """Read a file of a known kind.

    Args:
        limit: number of items (in winogender the sentences of one template are one item), the same ones for
            the same file; 0 takes all.
    Raises:
        InputError: it cannot be read, is empty, is of no known kind, or a row lacks a field of its kind.
    """
    rows = list(read_rows(path))
    if not rows:
        raise InputError("the file is empty", where=str(path), hint="see docs/probe.md for the formats")
    kind = _kind(rows[0])
    items = list(_READERS[kind](iter(rows)))
    if limit and len(items) > limit:
        items = [items[i] for i in sorted(random.Random(len(items)).sample(range(len(items)), limit))]
    return TaskSet(path.name, kind, tuple(items))


def _kind(row: Row) -> Kind:
    keys = set(row.value)
    known: tuple[tuple[Kind, set[str]], ...] = (
        ("bbq", {"context", "question", "ans0", "ans1", "ans2", "label", "context_condition"}),
        ("truthfulqa", {"Question", "Correct Answers", "Incorrect Answers"}),
        ("truthfulqa", {"question", "mc1_targets"}),
        ("winogender", {"sentid", "sentence"}),
        ("crows", {"sent_more", "sent_less"}),
        ("choice", {"question", "choices", "answer"}),
        ("worked", {"question", "answer"}),
        ("harm", {"prompt", "harmful"}),
    )
    for kind, fields in known:
        if fields <= keys:
            return kind
    named = "; ".join(f"{kind}: {', '.join(sorted(fields))}" for kind, fields in known)
    raise InputError(f"no supported test has the fields {', '.join(row.value)}", where=row.where, hint=f"known: {named}")


def _truthfulqa(rows: Iterator[Row]) -> Iterator[Item]:
    for row in rows:
        if "mc1_targets" in row.value:
            one, many = _targets(row, "mc1_targets"), _targets(row, "mc2_targets" if "mc2_targets" in row.value else "mc1_targets")
            best = next((text for text, good in one if good), "")
            choices = [text for text, _ in many]
            right = tuple(i for i, (_, good) in enumerate(many) if good)
            question = row.text("question")
        else:
            good, bad = _listed(row, "Correct Answers"), _listed(row, "Incorrect Answers")
            best, choices, question = row.text("Best Answer", good[0] if good else ""), [*good, *bad], row.text("Question")
            if best not in good:
                choices, good = [best, *choices], [best, *good]
            right = tuple(range(len(good)))
        if not right or len(right) == len(choices):
            raise row.error("Correct Answers", "it takes right and wrong answers")
        yield Item(question, tuple(choices), right, {"best": choices.index(best) if best in choices else right[0]})


def _targets(row: Row, name: str) -> list[tuple[str, bool]]:
    """Return texts with their truth, from ``{text: 0 or 1}`` or from ``{choices: [...], labels: [...]}``."""
    value = row.value[name]
    if not isinstance(value, dict):
        raise row.error(name, "not an object of answers")
    given = cast("dict[str, Any]", value)
    pairs = zip(given["choices"], given["labels"], strict=True) if {"choices", "labels"} <= given.keys() else given.items()
    return [(str(text), bool(good)) for text, good in pairs]


def _listed(row: Row, name: str) -> list[str]:
    return [part.strip() for part in row.text(name).split(";") if part.strip()]


def _bbq(rows: Iterator[Row]) -> Iterator[Item]:
    for row in rows:
        info: dict[str, list[str]] = row.value.get("answer_info") or {}
        choices = tuple(row.text(f"ans{i}") for i in range(3))
        groups: list[list[str]] = []
        for i in range(3):
            groups.append([str(word).lower() for word in info.get(f"ans{i}", [])])
        unknown = next((i for i in range(3) if "unknown" in groups[i]), None)
        label = row.value.get("label")
        if unknown is None or not isinstance(label, int):
            raise row.error("answer_info", "one of the three answers is to be the unknown one, and label a number")
        meta: dict[str, Any] = row.value.get("additional_metadata") or {}
        named = [str(group).lower() for group in meta.get("stereotyped_groups", [])]
        target = _target(groups, unknown, named, choices)
        facts = {
            "unknown": unknown,
            "stereotyped": target,
            "negative": row.text("question_polarity", "neg").startswith("neg"),
            "ambiguous": row.text("context_condition").startswith("ambig"),
            "category": row.text("category", ""),
        }
        yield Item(f"{row.text('context')} {row.text('question')}", choices, (label,), facts)


def _target(groups: list[list[str]], unknown: int, named: list[str], choices: tuple[str, ...]) -> int | None:
    """Return the answer that names the stereotyped group, or None if the file does not say which one does."""
    hits = list[int]()
    for i in range(3):
        words = {choices[i].lower(), *groups[i]}
        for word in groups[i]:
            words.update(word.split())
        if i != unknown and words & set(named):
            hits.append(i)
    return hits[0] if len(hits) == 1 else None


def _winogender(rows: Iterator[Row]) -> Iterator[Item]:
    """Combine three sentences that differ in a pronoun into one item: male, female, neutral."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in rows:
        occupation, participant, answer, gender, *_ = [*row.text("sentid").split("."), "", "", "", ""]
        found.setdefault((occupation, participant, answer), {})[gender] = row.text("sentence")
    for (occupation, participant, answer), each in found.items():
        if {"male", "female"} <= each.keys():
            choices = tuple(each[gender] for gender in ("male", "female", "neutral") if gender in each)
            yield Item("", choices, (), {"occupation": occupation, "participant": participant, "refers_to_occupation": answer == "0"})


def _crows(rows: Iterator[Row]) -> Iterator[Item]:
    for row in rows:
        facts = {"category": row.text("bias_type", ""), "stereotype_first": row.text("stereo_antistereo", "stereo") == "stereo"}
        yield Item("", (row.text("sent_more"), row.text("sent_less")), (), facts)


def _choice(rows: Iterator[Row]) -> Iterator[Item]:
    for row in rows:
        choices, answer = row.texts("choices"), row.value["answer"]
        place = answer if isinstance(answer, int) else choices.index(answer) if answer in choices else -1
        if not 0 <= place < len(choices):
            raise row.error("answer", f"{answer!r} is none of the choices")
        yield Item(row.text("question"), choices, (place,))


def _worked(rows: Iterator[Row]) -> Iterator[Item]:
    for row in rows:
        head, mark, number = row.text("answer").rpartition("####")
        if not mark:
            raise row.error("answer", "a worked answer ends in #### and a number")
        yield Item(row.text("question"), (), (), {"answer": number.strip(), "steps": head.strip()})


def _harm(rows: Iterator[Row]) -> Iterator[Item]:
    for row in rows:
        marked = row.value["harmful"]
        if not isinstance(marked, bool) and str(marked).lower() not in ("true", "false", "0", "1"):
            raise row.error("harmful", "true or false")
        yield Item(row.text("prompt"), (), (), {"harmful": str(marked).lower() in ("true", "1")})


_READERS: dict[Kind, Callable[[Iterator[Row]], Iterator[Item]]] = {
    "truthfulqa": _truthfulqa,
    "bbq": _bbq,
    "winogender": _winogender,
    "crows": _crows,
    "choice": _choice,
    "worked": _worked,
    "harm": _harm,
}
