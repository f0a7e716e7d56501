"""The held-out prompts and texts, chosen once for every command: the same number of prompts is the same prompts everywhere."""

from __future__ import annotations

import random
from collections.abc import Container
from typing import get_args

from accord.commands.models import Model
from accord.data.corpus import tokenized
from accord.errors import InputError
from accord.feedback.store import Store
from accord.records import Prompt, Split
from accord.runtime.project import Project

RAW_TEXT_CONTEXT = 1024
"""Tokens of a raw-text document that a loss is measured on, at most."""


def held_out_prompts(
    project: Project, n: int = 0, *, split: Split = "test", use_case: str = "", known: Container[str] | None = None
) -> list[Prompt]:
    """Return n prompts of users that nothing trains on, in a seeded order that does not depend on n; all of them for 0.

    Ten prompts more are the same prompts and ten others, so metrics of two commands, or of two sizes, can be laid side by side.

    Args:
        known: ids of the prompts that the judge can judge. The gold judge knows the world's own prompts, and neither arithmetic
            nor prompts that were imported later.

    Raises:
        InputError: there are none.
    """
    with Store.open(project.store_url) as store:
        found = [prompt for prompt in store.prompts(split=split, use_case=use_case or None) if known is None or prompt.id in known]
        splits: tuple[Split, ...] = () if found else get_args(Split)
        there = {each: len(list(store.prompts(split=each, use_case=use_case or None))) for each in splits if each != split}
    if not found:
        of_use_case = f" of use case {use_case}" if use_case else ""
        others = [f"--split {each} has {count:,}" for each, count in there.items() if count]
        hint = ", ".join(others) or "`accord import` some"
        raise InputError(f"the store has no {split} prompts{of_use_case}", where=project.store_name, hint=hint)
    random.Random("held out").shuffle(found)
    return found[: n or None]


def held_out_prompts_by_id(project: Project, n: int = 0, *, known: Container[str] | None = None) -> list[Prompt]:
    """Return the same prompts in the order of their ids.

    Batches of equal lengths are filled in the order of the prompts, so this order is part of a seeded sample.

    Raises:
        InputError: there are none.
    """
    return sorted(held_out_prompts(project, n, known=known), key=lambda prompt: prompt.id)


def held_out_raw_text(project: Project, model: Model) -> list[list[int]]:
    """Return the documents of raw text that nothing trains on, in a model's tokens.

    Raises:
        InputError: the project has no raw text.
    """
    context = min(model.format.context or RAW_TEXT_CONTEXT, RAW_TEXT_CONTEXT)
    return tokenized(project.path / "corpus", model.format.tokenizer, context).held_out()


def shown_prompt(prompt: Prompt) -> str:
    """Return a prompt as text, for a judge or a measure that is a function: its turns, one per line."""
    return "\n".join(message.content for message in prompt.messages)
