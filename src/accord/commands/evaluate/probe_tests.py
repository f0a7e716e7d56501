"""Public tests: choices by their probabilities, worked problems and marked prompts by the answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from accord.commands.evaluate.probe_likelihood import summed_logprobs
from accord.commands.evaluate.probe_measure import SHOWN, Probing
from accord.commands.evaluate.probe_safety import safety_of_marked
from accord.commands.models import Model, load_model
from accord.evaluation.statistics import rate
from accord.evaluation.systems import System
from accord.evaluation.task_scores import by_occupation, same_number, scored
from accord.evaluation.task_sets import Item, TaskSet
from accord.records import Message, Prompt

ANSWERED = ("worked", "harm")
"""Kinds of tests that are answered in words; the others read probabilities, which remote systems do not give."""


def public_test(probing: Probing, test: TaskSet, lexicon: Path | None) -> dict[str, Any]:
    """Return a test's metrics by system; those that read probabilities are measured on local models alone.

    Raises:
        InputError: a question is longer than a model's context.
    """
    found: dict[str, Any] = {"kind": test.kind, "items": len(test.items)}
    if test.kind in ANSWERED:
        for system in probing.systems:
            found[system.name] = _answered(probing, test, system, lexicon)
        return found
    for name in probing.models:
        rows = item_logprobs(load_model(probing.project, name), test.items, probing.dtype)
        found[name] = scored(test, rows, **probing.draw)
        if test.kind == "winogender":
            found[name] |= {"by_occupation": by_occupation(test.items, rows)}
        shown = [_likeliest(test, name, item, row) for item, row in zip(test.items[:SHOWN], rows, strict=False)]
        probing.run.samples(0, shown)
    return found


def item_logprobs(model: Model, items: Sequence[Item], dtype: torch.dtype) -> list[list[float]]:
    """Return the summed log-probability of each choice after its question, or of each whole sentence where there is no question."""
    prompts, texts = list[list[int]](), list[list[int]]()
    for item in items:
        turns = (Message("user", item.question),)
        for choice in item.choices:
            if item.question:
                prompts.append(model.format.prompt(turns))
                texts.append(model.format.response(turns, choice)[:-1])  # the stop token is no part of the choice
            else:
                prompts.append([model.format.tokenizer.bos_token_id])
                texts.append(model.format.tokenizer(choice, add_special_tokens=False)["input_ids"])
    sums = iter(summed_logprobs(model, prompts, texts, dtype))
    return [list(islice(sums, len(item.choices))) for item in items]


def _likeliest(test: TaskSet, model: str, item: Item, row: Sequence[float]) -> dict[str, Any]:
    taken = max(range(len(row)), key=lambda i: row[i])
    told = {"kind": test.kind, "file": test.name, "model": model, "prompt": item.question, "response": item.choices[taken]}
    return told | {"right": taken in item.right if item.right else None, "logprobs": [round(value, 3) for value in row]}


def _answered(probing: Probing, test: TaskSet, system: System, lexicon: Path | None) -> dict[str, Any]:
    """Return a system's metrics on worked problems, by their final number, or on prompts that are to be refused or not."""
    prompts = [Prompt(f"{test.name}-{i}", (Message("user", item.question),)) for i, item in enumerate(test.items)]
    texts = probing.answers.of_system(system, prompts)
    if test.kind == "harm":
        marked = [bool(item.facts["harmful"]) for item in test.items]
        return safety_of_marked(probing.classifiers, texts, marked, lexicon, **probing.draw)
    right = [same_number(text, str(item.facts["answer"])) for text, item in zip(texts, test.items, strict=True)]
    rows: list[dict[str, Any]] = []
    for item, text, is_right in zip(test.items[:SHOWN], texts, right, strict=False):
        about = {"kind": test.kind, "file": test.name, "model": system.name}
        rows.append(about | {"prompt": item.question, "response": text, "right": is_right})
    probing.run.samples(0, rows)
    return {"accuracy": rate([float(each) for each in right], **probing.draw)}
